#include "server/constraint_fields.h"

#include <bamba/constraint.h>

#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {
namespace {

constexpr size_t kKept = 32;

struct Wish {
  std::string kind;  // "regex", "grammar", "json_object" or "json_schema"
  std::string text;
  std::string param;
};

std::optional<Wish> read_format(const Fields& fields) {
  const Json* format = fields.object("response_format");
  if (format == nullptr) return {};
  const Fields inside(*format, "response_format.");
  const std::string type = inside.string("type").value_or("");
  if (type == "text") return {};
  if (type == "json_object") return Wish{type, {}, "response_format"};
  if (type != "json_schema") {
    throw ApiError(400, "response_format.type must be text, json_object or json_schema", "response_format.type",
                   "invalid_value");
  }
  const Json* outer = inside.object("json_schema");
  const Json* schema = outer == nullptr ? nullptr : Fields(*outer, "response_format.json_schema.").find("schema");
  if (schema == nullptr) {
    throw ApiError(400, "response_format.json_schema.schema is missing", "response_format.json_schema.schema",
                   "missing");
  }
  return Wish{type, schema->dump(), "response_format.json_schema.schema"};
}

std::optional<Wish> read_wish(const Fields& fields) {
  std::optional<Wish> wish = read_format(fields);
  for (const char* name : {"regex", "grammar"}) {
    std::optional<std::string> text = fields.string(name);
    if (!text) continue;
    if (wish) {
      throw ApiError(400, str(name, " and ", wish->param, " cannot both be asked for"), name, "invalid_value");
    }
    wish = Wish{name, *std::move(text), name};
  }
  return wish;
}

}  // namespace

struct ConstraintCache::Impl {
  Constraint make(const Wish& wish, const ServedModel& model);

  std::mutex mutex;
  std::optional<TokenVocabulary> vocabulary;
  std::list<std::pair<std::string, Constraint>> kept;  // the last used first
};

ConstraintCache::ConstraintCache() : impl_(std::make_unique<Impl>()) {}

ConstraintCache::~ConstraintCache() = default;

ConstraintMaker ConstraintCache::read(const Fields& fields, const ServedModel& model) {
  const std::optional<Wish> wish = read_wish(fields);
  if (!wish) {
    return [](size_t) { return std::function<LogitsProcessor()>(); };
  }
  model.require_tokenizer(wish->param);
  if (model.defaults.eos_token_id.empty()) {
    throw ApiError(400, "this model has no token that ends a text, which constraints need", wish->param,
                   "unsupported_parameter");
  }
  if (fields.boolean("ignore_eos").value_or(false)) {
    throw ApiError(400, str("ignore_eos does not go with ", wish->param), "ignore_eos", "invalid_value");
  }
  try {
    return [constraint = impl_->make(*wish, model)](size_t prompt_length) {
      return [constraint, prompt_length] { return make_constraint_processor(constraint, prompt_length); };
    };
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::unsupported) throw;
    throw ApiError(400, error.what(), wish->param, "invalid_value");
  }
}

Constraint ConstraintCache::Impl::make(const Wish& wish, const ServedModel& model) {
  const std::string key = wish.kind + ' ' + wish.text;
  std::optional<TokenVocabulary> words;
  {
    const std::lock_guard lock(mutex);
    for (auto it = kept.begin(); it != kept.end(); ++it) {
      if (it->first != key) continue;
      kept.splice(kept.begin(), kept, it);
      return it->second;
    }
    if (!vocabulary) vocabulary.emplace(*model.tokenizer, model.defaults.eos_token_id);
    words = vocabulary;
  }
  // Not under the lock: some take their time, and others need not wait.
  Constraint constraint = wish.kind == "regex"         ? Constraint::regex(wish.text, *words)
                          : wish.kind == "grammar"     ? Constraint::grammar(wish.text, *words)
                          : wish.kind == "json_object" ? Constraint::json_object(*words)
                                                       : Constraint::json_schema(wish.text, *words);
  const std::lock_guard lock(mutex);
  kept.emplace_front(key, constraint);
  if (kept.size() > kKept) kept.pop_back();
  return constraint;
}

}  // namespace bamba::server
