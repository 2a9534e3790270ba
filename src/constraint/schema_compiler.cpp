#include "constraint/schema_compiler.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/warning.h"
#include "constraint/schema_keywords.h"
#include "constraint/schema_parts.h"

namespace bamba {
namespace {

/// Schemas within schemas, as they are compiled: references that grow as they are followed end here.
constexpr int kMaxSchemaDepth = 100;
constexpr size_t kMaxWarnings = 8;
constexpr std::array<std::string_view, 7> kTypes = {"object",  "array",   "string", "number",
                                                    "integer", "boolean", "null"};

bool is_of_type(const Json& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (!value.is_number()) return false;
  if (type == "number" || value.is_number_integer()) return true;
  const double number = value.get<double>();
  return number == static_cast<double>(static_cast<int64_t>(std::clamp(number, -9e15, 9e15)));
}

class SchemaCompiler {
 public:
  explicit SchemaCompiler(std::string_view text) : source_(text), json_(grammar_) {}

  Grammar compile() {
    // Rule 0 is the start; the root schema may be referred to as well, and is then the rule after it.
    const RuleId start = grammar_.add_rule("the JSON schema");
    grammar_.set_body(start, compile(source_.root()));
    return std::move(grammar_);
  }

 private:
  /// Equal schemas are one rule, which is also what makes circles of references end.
  ExpressionId compile(const SchemaPlace& place) {
    const auto [found, is_new] = rules_.try_emplace(place.schema.dump(), 0);
    if (is_new) {
      if (++depth_ > kMaxSchemaDepth) {
        place.fail_at("", "schemas within schemas go deeper than ", kMaxSchemaDepth, " levels");
      }
      const RuleId rule = grammar_.add_rule(place.path);
      found->second = rule;
      grammar_.set_body(rule, body(place));
      --depth_;
      return grammar_.reference(rule);
    }
    return grammar_.reference(found->second);
  }

  ExpressionId body(const SchemaPlace& place) {
    const Json& schema = place.schema;
    if (schema.is_boolean()) return schema.get<bool>() ? json_.value() : grammar_.choice({});
    if (!schema.is_object()) place.fail_at("", "a schema is an object, true or false");
    check_keywords(place);
    if (is_only_annotated(schema)) return json_.value();

    constexpr std::array<std::string_view, 1> kReference = {"$ref"};
    if (schema.contains("$ref") && is_only_annotated(without_keys(schema, kReference))) {
      if (!schema["$ref"].is_string()) place.fail_at("$ref", "it should be a string");
      // Many references to one large schema must not cost its size each.
      const auto [found, is_new] = references_.try_emplace(schema["$ref"].get<std::string>(), 0);
      if (is_new) {
        const ExpressionId target = compile(source_.resolve(place, found->first));
        references_[found->first] = target;
        return target;
      }
      if (found->second == 0) found->second = compile(source_.resolve(place, found->first));  // within itself
      return found->second;
    }
    if (schema.contains("$ref") || schema.contains("allOf")) return compile(source_.flatten(place));
    for (const char* keyword : {"anyOf", "oneOf"}) {
      if (schema.contains(keyword)) return any_of(place, keyword);
    }
    if (schema.contains("enum") || schema.contains("const")) return constants(place);
    std::vector<ExpressionId> choices;
    for (const std::string_view type : types(place)) choices.push_back(of_type(place, type));
    return grammar_.choice(std::move(choices));
  }

  void check_keywords(const SchemaPlace& place) {
    for (const auto& [name, value] : place.schema.items()) {
      const SchemaKeyword kind = schema_keyword(name);
      if (kind == SchemaKeyword::unsupported) place.fail_at(name, "this keyword is not supported");
      if (kind == SchemaKeyword::unknown && unknown_.size() < kMaxWarnings && unknown_.insert(name).second) {
        warn("the JSON schema at ", printable(place.path), ": the keyword ", quote(name),
             " is not one of JSON Schema's and is ignored");
      }
    }
  }

  ExpressionId any_of(const SchemaPlace& place, const char* keyword) {
    const Json& list = place.schema[keyword];
    if (!list.is_array() || list.empty()) place.fail_at(keyword, "it should be a list of schemas");
    const std::array<std::string_view, 1> self = {keyword};
    const SchemaPlace rest{without_keys(place.schema, self), place.path};
    const bool alone = is_only_annotated(rest.schema);
    std::vector<ExpressionId> choices;
    for (size_t i = 0; i < list.size(); ++i) {
      const SchemaPlace branch = place.child(list[i], keyword, i);
      choices.push_back(alone ? compile(branch) : compile(source_.both(rest, branch)));
    }
    return grammar_.choice(std::move(choices));
  }

  ExpressionId constants(const SchemaPlace& place) {
    const Json& schema = place.schema;
    for (const auto& [name, value] : schema.items()) {
      if (!keyword_type(schema_keyword(name)).empty()) {
        place.fail_at(name, "next to enum or const, only type is supported");
      }
    }
    Json values = Json::array();
    if (schema.contains("enum")) {
      if (!schema["enum"].is_array()) place.fail_at("enum", "it should be a list of values");
      values = schema["enum"];
      if (schema.contains("const")) {
        const bool listed = std::find(values.begin(), values.end(), schema["const"]) != values.end();
        values = listed ? Json::array({schema["const"]}) : Json::array();
      }
    } else {
      values.push_back(schema["const"]);
    }
    const std::vector<std::string_view> allowed = types(place);
    std::vector<std::string> words;
    std::vector<ExpressionId> choices;
    for (const Json& value : values) {
      if (std::none_of(allowed.begin(), allowed.end(), [&](auto type) { return is_of_type(value, type); })) continue;
      if (value.is_structured()) {
        choices.push_back(json_.constant(value));
      } else {
        words.push_back(value.dump());
      }
    }

    if (!words.empty()) choices.push_back(grammar_.words(std::move(words)));
    return grammar_.choice(std::move(choices));
  }

  /// What `type` says; without it, the types that the other keywords are about, or all.
  std::vector<std::string_view> types(const SchemaPlace& place) const {
    const Json& schema = place.schema;
    std::vector<std::string_view> out;
    if (schema.contains("type")) {
      const Json list = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
      for (const Json& item : list) {
        const auto known =
            std::find_if(kTypes.begin(), kTypes.end(), [&](std::string_view type) { return item == type; });
        if (known == kTypes.end()) place.fail_at("type", item.dump(), " is none of JSON's types");
        out.push_back(*known);
      }

      return out;
    }
    for (const auto kind :
         {SchemaKeyword::object, SchemaKeyword::array, SchemaKeyword::string, SchemaKeyword::number}) {
      if (has_keyword(schema, kind)) out.push_back(keyword_type(kind));
    }
    if (out.empty()) out.assign(kTypes.begin(), kTypes.end());
    return out;
  }

  ExpressionId of_type(const SchemaPlace& place, std::string_view type) {
    const auto inner = [this](const SchemaPlace& child) { return compile(child); };
    if (type == "object") return compile_object(place, grammar_, json_, inner);
    if (type == "array") {
      const auto flatten = [this](const SchemaPlace& child) { return source_.flatten(child); };
      return compile_array(place, grammar_, json_, inner, flatten);
    }
    if (type == "string") return compile_string(place, grammar_, json_);
    if (type == "number") return compile_number(place, grammar_, json_);
    if (type == "integer") return compile_integer(place, grammar_, json_);
    return type == "boolean" ? json_.boolean() : json_.null();
  }

  SchemaSource source_;
  Grammar grammar_;
  JsonGrammar json_;
  std::map<std::string, RuleId> rules_;             // by the schema's text
  std::map<std::string, ExpressionId> references_;  // 0: being compiled
  std::set<std::string> unknown_;                   // keywords warned about
  int depth_ = 0;
};

}  // namespace

int64_t schema_count(const SchemaPlace& place, const char* keyword, int64_t absent) {
  if (!place.schema.contains(keyword)) return absent;
  const Json& value = place.schema[keyword];
  const bool whole = value.is_number_integer() || (value.is_number() && is_of_type(value, "integer"));
  const double number = whole ? value.get<double>() : -1;
  if (number < 0) place.fail_at(keyword, "it should be a whole number, 0 or more");
  return number > 1e15 ? int64_t{1'000'000'000'000'000} : static_cast<int64_t>(number);
}

Grammar parse_json_schema(std::string_view text) {
  return SchemaCompiler(text).compile();
}

Grammar json_object_grammar() {
  Grammar grammar;
  const RuleId start = grammar.add_rule("JSON");
  JsonGrammar json(grammar);
  grammar.set_body(start, json.object());
  return grammar;
}

}  // namespace bamba
