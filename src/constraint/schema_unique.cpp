// Arrays without equal items, where the items are a few values: what may follow depends on which of them are written.
#include <algorithm>
#include <bit>
#include <map>
#include <optional>

#include "constraint/schema_keywords.h"
#include "constraint/schema_parts.h"

namespace bamba {
namespace {

/// There is a rule for each set of values that are written.
constexpr size_t kMaxValues = 8;

/// The values that a schema allows, each once; nothing where it may allow others.
std::optional<std::vector<Json>> listed_values(const Json& schema) {
  if (!schema.is_object()) return {};
  for (const auto& [name, value] : schema.items()) {
    const SchemaKeyword kind = schema_keyword(name);
    if (kind == SchemaKeyword::combines || !keyword_type(kind).empty()) return {};
  }
  Json list = Json::array();
  if (schema.contains("enum")) {
    list = schema["enum"];
  } else if (schema.contains("const")) {
    list.push_back(schema["const"]);
  } else if (schema.contains("type") && schema["type"] == "boolean") {
    list = {true, false};
  } else {
    return {};
  }
  // Equal objects may be written in several ways.
  if (!list.is_array() || std::any_of(list.begin(), list.end(), [](auto& item) { return item.is_structured(); })) {
    return {};
  }
  std::vector<Json> out;
  for (const Json& item : list) {
    if (schema.contains("const") && item != schema["const"]) continue;
    if (std::find(out.begin(), out.end(), item) == out.end()) out.push_back(item);
    if (out.size() > kMaxValues) return {};
  }
  return out;
}

class UniqueItems {
 public:
  UniqueItems(std::string name, std::vector<ExpressionId> values, int64_t min, int64_t max, Grammar& grammar,
              JsonGrammar& json)
      : name_(std::move(name)), values_(std::move(values)), min_(min), max_(max), grammar_(grammar), json_(json) {}

  /// What may follow when these values, a bit each, are written.
  ExpressionId behind(uint32_t written) {
    const auto [found, is_new] = rules_.try_emplace(written, 0);
    if (!is_new) return grammar_.reference(found->second);
    const RuleId rule = found->second = grammar_.add_rule(name_);
    const int64_t count = std::popcount(written);
    std::vector<ExpressionId> choices;
    if (count >= min_) choices.push_back(grammar_.empty());
    for (size_t i = 0; i < values_.size() && (max_ == kUnbounded || count < max_); ++i) {
      const uint32_t bit = uint32_t{1} << i;
      if ((written & bit) != 0) continue;
      choices.push_back(
          grammar_.sequence({written == 0 ? grammar_.empty() : json_.comma(), values_[i], behind(written | bit)}));
    }
    grammar_.set_body(rule, grammar_.choice(std::move(choices)));
    return grammar_.reference(rule);
  }

 private:
  std::string name_;
  std::vector<ExpressionId> values_;
  int64_t min_;
  int64_t max_;
  Grammar& grammar_;
  JsonGrammar& json_;
  std::map<uint32_t, RuleId> rules_;
};

}  // namespace

ExpressionId compile_unique_items(const SchemaPlace& place, const SchemaPlace& items, int64_t min, int64_t max,
                                  Grammar& grammar, JsonGrammar& json, CompileSchema compile) {
  const auto values = listed_values(items.schema);
  if (!values || place.schema.contains("prefixItems")) {
    place.fail_at("uniqueItems", "it is supported only where items is an enum, a const or boolean, of at most ",
                  kMaxValues, " values that are no arrays and objects, and without prefixItems");
  }
  if (min > static_cast<int64_t>(values->size())) {
    place.fail_at("minItems", "there are no more than ", values->size(), " different items");
  }
  std::vector<ExpressionId> written;
  for (const Json& value : *values) {
    Json one = {{"const", value}};
    if (items.schema.contains("type")) one["type"] = items.schema["type"];  // which the value may not be of
    written.push_back(compile({std::move(one), items.path}));
  }
  return json.enclosed('[', UniqueItems(place.path, std::move(written), min, max, grammar, json).behind(0), ']', false);
}

}  // namespace bamba
