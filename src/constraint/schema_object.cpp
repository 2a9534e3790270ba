// Objects: the listed properties in the schema's order, then others where the schema wants any.
#include <algorithm>
#include <map>
#include <optional>

#include "constraint/schema_parts.h"

namespace bamba {
namespace {

struct Property {
  std::string name;
  SchemaPlace place;
  bool required = false;
};

class ObjectCompiler {
 public:
  ObjectCompiler(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile)
      : place_(place), grammar_(grammar), json_(json), compile_(compile) {}

  ExpressionId run() {
    read_properties();
    check_counts();
    if (properties_.empty() && rest_ && rest_->schema == true) return json_.object();
    // Rules for "what may follow behind property i, with or without one before": each refers to the next.
    while (first_required_ < properties_.size() && !properties_[first_required_].required) ++first_required_;
    tails_[0].assign(properties_.size() + 1, kNone);
    tails_[1].assign(properties_.size() + 1, kNone);
    for (size_t i = properties_.size() + 1; i-- > 0;) {
      for (const size_t written : {0, 1}) make_tail(i, written);
    }
    return grammar_.sequence(
        {grammar_.literal("{"), json_.space(), grammar_.reference(tails_[0][0]), grammar_.literal("}")});
  }

 private:
  static constexpr RuleId kNone = UINT32_MAX;

  void read_properties() {
    const Json& schema = place_.schema;
    if (schema.contains("properties")) {
      if (!schema["properties"].is_object()) place_.fail_at("properties", "it should be an object of schemas");
      const SchemaPlace parent = place_.child(schema["properties"], "properties");
      for (const auto& [name, inner] : schema["properties"].items()) {
        properties_.push_back({name, parent.child(inner, name)});
      }
    }
    if (schema.contains("additionalProperties")) {
      rest_ = place_.child(schema["additionalProperties"], "additionalProperties");
      if (rest_->schema == false) rest_.reset();
    } else if (properties_.empty()) {
      rest_ = SchemaPlace{true, place_.path};
    }
    if (!schema.contains("required")) return;
    if (!schema["required"].is_array()) place_.fail_at("required", "it should be a list of names");
    std::map<std::string, size_t> places;
    for (size_t i = 0; i < properties_.size(); ++i) places.emplace(properties_[i].name, i);
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) place_.fail_at("required", "it should be a list of names");
      const auto [found, is_new] = places.try_emplace(name.get<std::string>(), properties_.size());
      if (!is_new) {
        properties_[found->second].required = true;
        continue;
      }
      if (schema.contains("additionalProperties") && !rest_) {
        place_.fail_at("required", "the property ", quote(name.get<std::string>()),
                       " is required, but neither listed nor allowed as an additional one");
      }
      properties_.push_back({name.get<std::string>(), rest_ ? *rest_ : SchemaPlace{true, place_.path}, true});
    }
  }

  /// Counting properties is not supported; bounds that hold anyway are.
  void check_counts() const {
    const auto required = std::count_if(properties_.begin(), properties_.end(), [](auto& p) { return p.required; });
    if (schema_count(place_, "minProperties", 0) > required) {
      place_.fail_at("minProperties", "more than the ", required, " required properties is not supported");
    }
    const auto listed = static_cast<int64_t>(properties_.size());
    const int64_t most = schema_count(place_, "maxProperties", INT64_MAX);
    if (most < listed || (rest_ && most != INT64_MAX)) {
      place_.fail_at("maxProperties", "it is supported only where the schema lists no more than so many properties ",
                     "and allows no additional ones");
    }
  }

  void make_tail(size_t i, size_t written) {
    // Nothing is before the first property, and something is behind a required one.
    if (written == 1 && i == 0) return;
    if (written == 0 && i > first_required_) return;
    const RuleId rule = grammar_.add_rule(place_.path);
    tails_[written][i] = rule;
    grammar_.set_body(rule, i == properties_.size() ? end(written) : tail(properties_[i], i, written));
  }

  ExpressionId tail(const Property& property, size_t i, size_t written) {
    const ExpressionId with =
        grammar_.sequence({written == 1 ? json_.comma() : grammar_.empty(), json_.key(property.name), json_.colon(),
                           compile_(property.place), grammar_.reference(tails_[1][i + 1])});
    if (property.required) return with;
    return grammar_.choice({with, grammar_.reference(tails_[written][i + 1])});
  }

  ExpressionId end(size_t written) {
    ExpressionId out = written == 1 ? json_.space() : grammar_.empty();
    if (!rest_) return out;
    std::vector<std::string> names;
    for (const Property& property : properties_) names.push_back(property.name);
    const ExpressionId one = grammar_.sequence({json_.other_key(names), json_.colon(), compile_(*rest_)});
    const ExpressionId more = grammar_.repeat(grammar_.sequence({json_.comma(), one}), 0, kUnbounded);
    if (written == 1) return grammar_.sequence({more, json_.space()});
    return grammar_.optional(grammar_.sequence({one, more, json_.space()}));
  }

  const SchemaPlace& place_;
  Grammar& grammar_;
  JsonGrammar& json_;
  CompileSchema compile_;
  std::vector<Property> properties_;
  std::optional<SchemaPlace> rest_;  // of additional properties; nothing: there are none
  size_t first_required_ = 0;
  std::vector<RuleId> tails_[2];
};

}  // namespace

ExpressionId compile_object(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile) {
  return ObjectCompiler(place, grammar, json, compile).run();
}

}  // namespace bamba
