// Arrays: first the items that have schemas of their own, then any number of the rest.
#include <algorithm>

#include "constraint/schema_parts.h"

namespace bamba {
namespace {

bool is_unique(const SchemaPlace& place) {
  if (!place.schema.contains("uniqueItems")) return false;
  const Json& value = place.schema["uniqueItems"];
  if (!value.is_boolean()) place.fail_at("uniqueItems", "it should be true or false");
  return value.get<bool>();
}

}  // namespace

ExpressionId compile_array(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile,
                           FlattenSchema flatten) {
  const Json& schema = place.schema;
  const int64_t min = schema_count(place, "minItems", 0);
  const int64_t max = schema_count(place, "maxItems", kUnbounded);
  if (max != kUnbounded && max < min) place.fail_at("maxItems", "it is below minItems");
  if (min > Grammar::kMaxCount) place.fail_at("minItems", "at most ", Grammar::kMaxCount, " is supported");

  if (is_unique(place) && (max == kUnbounded || max > 1)) {
    const SchemaPlace items = schema.contains("items") ? place.child(schema["items"], "items") : place.child(true, "");
    return compile_unique_items(place, flatten(items), min, max, grammar, json, compile);
  }

  std::vector<ExpressionId> first;
  if (schema.contains("prefixItems")) {
    const Json& list = schema["prefixItems"];
    if (!list.is_array()) place.fail_at("prefixItems", "it should be a list of schemas");
    for (size_t i = 0; i < list.size() && (max == kUnbounded || static_cast<int64_t>(i) < max); ++i) {
      first.push_back(compile(place.child(list[i], "prefixItems", i)));
    }
  }
  const auto listed = static_cast<int64_t>(first.size());
  SchemaPlace items = place.child(true, "items");
  if (schema.contains("items")) {
    items.schema = schema["items"];
    if (items.schema.is_array()) place.fail_at("items", "a list of schemas is written as prefixItems");
  }

  // From the last item to the first: behind each, what may follow it.
  const int64_t rest_min = std::max<int64_t>(0, min - listed);
  // An array may always be shorter than its schema allows.
  const int64_t rest_max = max == kUnbounded ? kUnbounded : std::min(max, Grammar::kMaxCount) - listed;
  ExpressionId content = grammar.empty();
  if (items.schema == false ? rest_min > 0 : rest_max != 0) {
    const ExpressionId item = compile(items);
    const ExpressionId another = grammar.sequence({json.comma(), item});
    if (listed > 0) {
      content = grammar.repeat(another, rest_min, rest_max);
    } else {
      const int64_t more_max = rest_max == kUnbounded ? kUnbounded : rest_max - 1;
      content = grammar.sequence({item, grammar.repeat(another, std::max<int64_t>(0, rest_min - 1), more_max)});
      if (rest_min == 0) content = grammar.optional(content);
    }
  }
  for (int64_t i = listed; i-- > 0;) {
    content = grammar.sequence({i == 0 ? grammar.empty() : json.comma(), first[static_cast<size_t>(i)], content});
    if (i >= min) content = grammar.optional(content);
  }
  return json.enclosed('[', content, ']', false);
}

}  // namespace bamba
