// Objects: the listed properties in the schema's order, then others where the schema wants any.
#include <algorithm>
#include <map>
#include <optional>

#include "constraint/key_patterns.h"
#include "constraint/schema_parts.h"

namespace bamba {
namespace {

struct Property {
  std::string name;
  SchemaPlace place;
  bool required = false;
};

struct Other {
  ExpressionId key = 0;
  SchemaPlace place;
};

class ObjectCompiler {
 public:
  ObjectCompiler(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile)
      : place_(place), grammar_(grammar), json_(json), compile_(compile) {}

  ExpressionId run() {
    read_patterns();
    read_properties();
    check_counts();
    if (properties_.empty() && !patterns_ && rest_ && rest_->schema == true) return json_.object();
    read_others();
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

  void read_patterns() {
    if (!place_.schema.contains("patternProperties")) return;
    const Json& map = place_.schema["patternProperties"];
    if (!map.is_object()) place_.fail_at("patternProperties", "it should be an object of schemas");
    if (map.size() > KeyPatterns::kMaxPatterns) {
      place_.fail_at("patternProperties", "at most ", KeyPatterns::kMaxPatterns, " patterns are supported");
    }
    const SchemaPlace parent = place_.child(map, "patternProperties");
    std::vector<std::string> patterns;
    for (const auto& [pattern, inner] : map.items()) {
      patterns.push_back(pattern);
      pattern_places_.push_back(parent.child(inner, pattern));
    }
    if (!patterns.empty()) with_patterns([&] { patterns_.emplace(patterns, grammar_); });
  }

  /// What is wrong with patterns is wrong at the keyword.
  template <typename Body>
  void with_patterns(const Body& body) {
    try {
      body();
    } catch (const Error& error) {
      place_.fail_at("patternProperties", error.what());
    }
  }

  /// A schema that says all that the schemas of these patterns say, and `own`.
  SchemaPlace all_of(std::optional<SchemaPlace> own, const std::vector<size_t>& patterns) const {
    if (patterns.empty()) return own ? *own : SchemaPlace{true, place_.path};
    if (!own && patterns.size() == 1) return pattern_places_[patterns[0]];
    Json parts = Json::array();
    if (own) parts.push_back(own->schema);
    for (const size_t i : patterns) parts.push_back(pattern_places_[i].schema);
    Json schema = Json::object();
    append_key(schema, "allOf", std::move(parts));
    return {std::move(schema), own ? own->path : pattern_places_[patterns[0]].path};
  }

  std::vector<size_t> patterns_of(const std::string& name) {
    std::vector<size_t> out;
    if (patterns_) with_patterns([&] { out = patterns_->matching(name); });
    return out;
  }

  void read_properties() {
    const Json& schema = place_.schema;
    if (schema.contains("properties")) {
      if (!schema["properties"].is_object()) place_.fail_at("properties", "it should be an object of schemas");
      const SchemaPlace parent = place_.child(schema["properties"], "properties");
      for (const auto& [name, inner] : schema["properties"].items()) {
        properties_.push_back({name, all_of(parent.child(inner, name), patterns_of(name))});
      }
    }
    if (schema.contains("additionalProperties")) {
      rest_ = place_.child(schema["additionalProperties"], "additionalProperties");
      if (rest_->schema == false) rest_.reset();
    } else if (properties_.empty() && !patterns_) {
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
      const std::vector<size_t> patterns = patterns_of(name.get<std::string>());
      if (patterns.empty() && schema.contains("additionalProperties") && !rest_) {
        place_.fail_at("required", "the property ", quote(name.get<std::string>()),
                       " is required, but neither listed nor allowed as an additional one");
      }
      properties_.push_back({name.get<std::string>(), all_of(patterns.empty() ? rest_ : std::nullopt, patterns), true});
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
    if (most < listed || ((rest_ || patterns_) && most != INT64_MAX)) {
      place_.fail_at("maxProperties", "it is supported only where the schema lists no more than so many properties ",
                     "and allows no additional ones");
    }
  }

  /// Keys that are not listed.
  void read_others() {
    std::vector<std::string> names;
    for (const Property& property : properties_) names.push_back(property.name);
    if (!patterns_) {
      if (rest_) others_.push_back({json_.other_key(names), *rest_});
      return;
    }
    with_patterns([&] {
      const ExpressionId mark = grammar_.literal("\"");
      for (const KeyPatterns::Group& group : patterns_->groups(names)) {
        if (group.patterns.empty() && !rest_) continue;
        others_.push_back({grammar_.sequence({mark, group.key, mark}),
                           all_of(group.patterns.empty() ? rest_ : std::nullopt, group.patterns)});
      }
    });
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
    if (others_.empty()) return out;
    std::vector<ExpressionId> choices;
    for (const Other& other : others_) {
      choices.push_back(grammar_.sequence({other.key, json_.colon(), compile_(other.place)}));
    }
    const ExpressionId one = grammar_.choice(std::move(choices));
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
  std::optional<KeyPatterns> patterns_;
  std::vector<SchemaPlace> pattern_places_;
  std::vector<Other> others_;
  size_t first_required_ = 0;
  std::vector<RuleId> tails_[2];
};

}  // namespace

ExpressionId compile_object(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile) {
  return ObjectCompiler(place, grammar, json, compile).run();
}

}  // namespace bamba
