// `value | filter`.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text_functions.h"
#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

struct Call {
  Interpreter& interpreter;
  const Value& input;
  const Arguments& arguments;

  const Value* argument(size_t place, std::string_view name) const { return arguments.get(place, name); }
  std::string text() const {
    std::string result = to_text(input);
    interpreter.charge(result.size());
    return result;
  }
  List items() const { return iterate(interpreter, input); }
};
using Filter = Value (*)(const Call&);

/// "a.b.0" walks attributes and items.
Value walk(Interpreter& interpreter, Value value, const Value& path) {
  if (path.is_integral()) return interpreter.item(value, path);
  const Value dot(".");
  const std::string text = to_text(path);
  for (const Value& part : split_text(text, &dot, -1, false)) {
    if (value.is_undefined()) return value;
    const std::string& name = part.string();
    int64_t index = 0;
    const char* end = name.data() + name.size();
    const bool number = !name.empty() && std::from_chars(name.data(), end, index).ptr == end;
    value = number ? interpreter.item(value, Value(index)) : interpreter.item(value, part);
  }
  return value;
}

Value length(const Call& c) {
  if (c.input.is_string()) return static_cast<int64_t>(utf8_count(c.text()));
  if (c.input.is_list()) return static_cast<int64_t>(c.input.list().size());
  if (c.input.is_dict()) return static_cast<int64_t>(c.input.dict().items.size());
  if (c.input.is_undefined()) return int64_t{0};
  template_error("a value of type ", c.input.type_name(), " has no length");
}

Value join(const Call& c) {
  const Value* separator = c.argument(0, "d");
  const Value* attribute = c.argument(1, "attribute");
  const std::string between = separator ? to_text(*separator) : "";
  std::string out;
  bool first = true;
  for (const Value& item : c.items()) {
    const std::string part = to_text(attribute ? walk(c.interpreter, item, *attribute) : item);
    c.interpreter.charge(part.size() + between.size());
    if (!first) out += between;
    first = false;
    out += part;
  }
  return out;
}

Value replace(const Call& c) {
  const Value* from = c.argument(0, "old");
  const Value* to = c.argument(1, "new");
  const Value* count = c.argument(2, "count");
  if (!from || !to) template_error("replace needs two strings");
  const int64_t limit = count && count->is_integral() ? count->integer() : -1;
  return replace_text(c.interpreter, c.text(), to_text(*from), to_text(*to), limit);
}

Value default_value(const Call& c) {
  const Value* fallback = c.argument(0, "default_value");
  const Value* boolean = c.argument(1, "boolean");
  const bool missing = c.input.is_undefined() || (boolean && boolean->truthy() && !c.input.truthy());
  return missing ? (fallback ? *fallback : Value("")) : c.input;
}

Value tojson(const Call& c) {
  const Value* indent = c.argument(1, "indent");
  const Value* named = c.arguments.named.find("indent");
  if (named) indent = named;
  int spaces = -1;
  if (indent && !indent->is_none()) {
    if (!indent->is_integral() || indent->integer() < 0 || indent->integer() > 16) {
      template_error("tojson's indent must be an integer from 0 to 16");
    }
    spaces = static_cast<int>(indent->integer());
  }
  std::string out = to_json(c.input, spaces);
  c.interpreter.charge(out.size());
  return out;
}

Value indent(const Call& c) {
  const Value* width = c.argument(0, "width");
  const Value* first = c.argument(1, "first");
  const Value* blank = c.argument(2, "blank");
  std::string pad(4, ' ');
  if (width && width->is_integral())
    pad.assign(static_cast<size_t>(std::clamp<int64_t>(width->integer(), 0, 256)), ' ');
  if (width && width->is_string()) pad = width->string();
  std::string out;
  bool line_start = first && first->truthy();
  const std::string text = c.text();
  for (const char ch : text) {
    if (line_start && (ch != '\n' || (blank && blank->truthy()))) {
      c.interpreter.charge(pad.size());
      out += pad;
    }
    line_start = ch == '\n';
    out += ch;
  }
  return out;
}

Value to_integer(const Call& c) {
  const Value* fallback = c.argument(0, "default");
  if (c.input.is_integral()) return c.input.integer();
  if (c.input.is_float() && std::fabs(c.input.number()) < 9e18) return static_cast<int64_t>(c.input.number());
  if (c.input.is_string()) {
    const std::string text = strip(c.input.string(), nullptr, true, true);
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const char* end = text.data() + text.size();
    int64_t integer = 0;
    double number = 0;
    if (begin != end && std::from_chars(begin, end, integer).ptr == end) return integer;
    if (begin != end && std::from_chars(begin, end, number).ptr == end && std::fabs(number) < 9e18) {
      return static_cast<int64_t>(number);
    }
  }
  return fallback ? *fallback : Value(int64_t{0});
}

Value to_float(const Call& c) {
  const Value* fallback = c.argument(0, "default");
  if (c.input.is_number()) return c.input.number();
  if (c.input.is_string()) {
    const std::string text = strip(c.input.string(), nullptr, true, true);
    double number = 0;
    const char* end = text.data() + text.size();
    if (!text.empty() && std::from_chars(text.data(), end, number).ptr == end) return number;
  }
  return fallback ? *fallback : Value(0.0);
}

Value absolute(const Call& c) {
  if (c.input.is_integral()) {
    if (c.input.integer() == INT64_MIN) template_error("an integer does not fit in 64 bits");
    return std::abs(c.input.integer());
  }
  if (!c.input.is_float()) template_error("abs needs a number");
  return std::fabs(c.input.number());
}

Value round_number(const Call& c) {
  const Value* digits = c.argument(0, "precision");
  if (!c.input.is_number()) template_error("round needs a number");
  const double scale = std::pow(10.0, digits && digits->is_integral() ? static_cast<double>(digits->integer()) : 0.0);
  const double scaled = std::nearbyint(c.input.number() * scale) / scale;
  return std::isfinite(scaled) ? scaled : c.input.number();
}

/// The value that sort, unique, min and max look at: an attribute where one is named, without case unless asked.
Value sort_key(const Call& c, const Value& item, size_t attribute_place) {
  const Value* attribute = c.argument(attribute_place, "attribute");
  const Value* sensitive = c.arguments.named.find("case_sensitive");
  Value key = attribute ? walk(c.interpreter, item, *attribute) : item;
  if (key.is_string() && !(sensitive && sensitive->truthy())) return lower_case(key.string());
  return key;
}

List sorted(const Call& c, size_t attribute_place) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : c.items()) keyed.emplace_back(sort_key(c, item, attribute_place), item);
  c.interpreter.charge_elements(keyed.size() * 16);
  std::stable_sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return less(a.first, b.first); });
  List list;
  for (auto& [key, item] : keyed) list.push_back(std::move(item));
  return list;
}

Value sort(const Call& c) {
  const Value* reverse = c.argument(0, "reverse");
  if (!reverse || !reverse->truthy()) return sorted(c, 2);
  // Reversing before and after keeps equals in their order, as Python's reverse=True does.
  List items = c.items();
  std::reverse(items.begin(), items.end());
  const Value backwards(std::move(items));
  List list = sorted({c.interpreter, backwards, c.arguments}, 2);
  std::reverse(list.begin(), list.end());
  return list;
}

Value extreme(const Call& c, bool largest) {
  const List items = c.items();
  if (items.empty()) return Value::undefined("an item of an empty sequence");
  const Value* best = &items[0];
  for (const Value& item : items) {
    const Value a = sort_key(c, largest ? *best : item, 1);
    const Value b = sort_key(c, largest ? item : *best, 1);
    if (less(a, b)) best = &item;
  }
  return *best;
}

Value unique(const Call& c) {
  List keys;
  List list;
  for (const Value& item : c.items()) {
    const Value key = sort_key(c, item, 1);
    c.interpreter.charge_elements(keys.size());
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& other) { return equal(other, key); })) continue;
    keys.push_back(key);
    list.push_back(item);
  }
  return list;
}

Value sum(const Call& c) {
  const Value* attribute = c.argument(0, "attribute");
  int64_t whole = 0;
  double real = 0;
  bool has_real = false;
  for (const Value& item : c.items()) {
    const Value value = attribute ? walk(c.interpreter, item, *attribute) : item;
    if (!value.is_number()) template_error("sum needs numbers, not ", value.type_name());
    has_real = has_real || value.is_float();
    real += value.number();
    if (value.is_integral() && __builtin_add_overflow(whole, value.integer(), &whole)) {
      template_error("an integer does not fit in 64 bits");
    }
  }
  return has_real ? Value(real) : Value(whole);
}

/// select, reject and their ...attr forms: an optional attribute, then a test's name and its arguments.
Value select(const Call& c, bool by_attribute, bool wanted) {
  const auto& given = c.arguments.positional;
  const size_t skip = by_attribute ? 1 : 0;
  if (given.size() < skip) template_error("selectattr and rejectattr need an attribute's name");
  Arguments rest;
  for (size_t i = skip + 1; i < given.size(); ++i) rest.positional.push_back(given[i]);
  List list;
  for (const Value& item : c.items()) {
    const Value value = by_attribute ? walk(c.interpreter, item, given[0]) : item;
    const bool holds =
        given.size() > skip ? apply_test(c.interpreter, to_text(given[skip]), value, rest) : value.truthy();
    if (holds == wanted) list.push_back(item);
  }
  return list;
}

Value map(const Call& c) {
  const Value* attribute = c.arguments.named.find("attribute");
  const Value* fallback = c.arguments.named.find("default");
  const auto& given = c.arguments.positional;
  if (!attribute && given.empty()) template_error("map needs a filter's name or attribute=...");
  Arguments rest;
  for (size_t i = 1; i < given.size(); ++i) rest.positional.push_back(given[i]);
  List list;
  for (const Value& item : c.items()) {
    Value value =
        attribute ? walk(c.interpreter, item, *attribute) : apply_filter(c.interpreter, to_text(given[0]), item, rest);
    list.push_back(value.is_undefined() && fallback ? *fallback : value);
  }
  return list;
}

Value pairs(const Call& c, bool sort_them) {
  if (c.input.is_undefined()) return List();
  if (!c.input.is_dict()) template_error("items and dictsort need a dict, not ", c.input.type_name());
  c.interpreter.charge_elements(c.input.dict().items.size());
  List list;
  for (const auto& [key, value] : c.input.dict().items) list.emplace_back(List{key, value});
  if (sort_them) {
    std::stable_sort(list.begin(), list.end(), [](const Value& a, const Value& b) {
      return lower_case(a.list()[0].string()) < lower_case(b.list()[0].string());
    });
  }
  return list;
}

Value escape(const Call& c) {
  std::string out;
  for (const char ch : c.text()) {
    constexpr std::string_view kSpecial = "&<>\"'";
    constexpr std::string_view kNames[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    const size_t at = kSpecial.find(ch);
    if (at == std::string_view::npos) {
      out += ch;
    } else {
      out += kNames[at];
    }
  }
  return out;
}

Value reverse(const Call& c) {
  List items = c.items();
  std::reverse(items.begin(), items.end());
  if (!c.input.is_string()) return items;
  std::string out;
  for (const Value& item : items) out += item.string();
  return out;
}

Value end_item(const Call& c, bool last) {
  const List items = c.items();
  if (items.empty()) return Value::undefined("an item of an empty sequence");
  return last ? items.back() : items.front();
}

struct NamedFilter {
  std::string_view name;
  Filter run;
};

constexpr NamedFilter kFilters[] = {
    {"trim", [](const Call& c) -> Value { return strip(c.text(), c.argument(0, "chars"), true, true); }},
    {"upper", [](const Call& c) -> Value { return upper_case(c.text()); }},
    {"lower", [](const Call& c) -> Value { return lower_case(c.text()); }},
    {"title", [](const Call& c) -> Value { return capitalize(c.text(), true); }},
    {"capitalize", [](const Call& c) -> Value { return capitalize(c.text(), false); }},
    {"string", [](const Call& c) -> Value { return c.text(); }},
    {"safe", [](const Call& c) -> Value { return c.input; }},
    {"length", length},
    {"count", length},
    {"join", join},
    {"replace", replace},
    {"default", default_value},
    {"d", default_value},
    {"tojson", tojson},
    {"indent", indent},
    {"int", to_integer},
    {"float", to_float},
    {"abs", absolute},
    {"round", round_number},
    {"list", [](const Call& c) -> Value { return c.items(); }},
    {"first", [](const Call& c) -> Value { return end_item(c, false); }},
    {"last", [](const Call& c) -> Value { return end_item(c, true); }},
    {"reverse", reverse},
    {"sort", sort},
    {"unique", unique},
    {"min", [](const Call& c) -> Value { return extreme(c, false); }},
    {"max", [](const Call& c) -> Value { return extreme(c, true); }},
    {"sum", sum},
    {"map", map},
    {"select", [](const Call& c) -> Value { return select(c, false, true); }},
    {"reject", [](const Call& c) -> Value { return select(c, false, false); }},
    {"selectattr", [](const Call& c) -> Value { return select(c, true, true); }},
    {"rejectattr", [](const Call& c) -> Value { return select(c, true, false); }},
    {"items", [](const Call& c) -> Value { return pairs(c, false); }},
    {"dictsort", [](const Call& c) -> Value { return pairs(c, true); }},
    {"escape", escape},
    {"e", escape},
};

}  // namespace

Value apply_filter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments) {
  for (const NamedFilter& known : kFilters) {
    if (known.name == name) return known.run({interpreter, input, arguments});
  }
  template_error("there is no filter named '", name, "'");
}

}  // namespace bamba::jinja
