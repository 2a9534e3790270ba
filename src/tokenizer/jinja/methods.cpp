// Methods of strings and dicts, and the global functions.
#include <bamba/error.h>

#include <algorithm>
#include <ctime>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text_functions.h"
#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

using Text = const std::string&;
using StringMethod = Value (*)(Interpreter&, Text, const Arguments&);

const std::string& text_argument(const Arguments& arguments, size_t place, const char* name) {
  const Value* value = arguments.get(place, name);
  if (!value || !value->is_string()) template_error("a string method needs a string as its argument '", name, "'");
  return value->string();
}

int64_t count_argument(const Arguments& arguments, size_t place, const char* name) {
  const Value* value = arguments.get(place, name);
  if (!value) return -1;
  if (!value->is_integral()) template_error("the argument '", name, "' must be an integer, not ", value->type_name());
  return value->integer();
}

/// startswith / endswith take one string or a tuple of them.
template <typename Matches>
bool any_affix(const Arguments& arguments, Matches matches) {
  const Value* value = arguments.get(0, "prefix");
  if (value && value->is_list()) {
    return std::any_of(value->list().begin(), value->list().end(),
                       [&](const Value& one) { return one.is_string() && matches(one.string()); });
  }
  return matches(text_argument(arguments, 0, "prefix"));
}

Value find_text(Text text, const Arguments& arguments, bool last, bool required) {
  const std::string& wanted = text_argument(arguments, 0, "sub");
  const size_t at = last ? text.rfind(wanted) : text.find(wanted);
  if (at == std::string::npos) {
    if (required) template_error("the substring was not found");
    return int64_t{-1};
  }
  return static_cast<int64_t>(utf8_count(std::string_view(text).substr(0, at)));
}

bool all_bytes(Text text, bool (*holds)(char)) {
  return !text.empty() && std::all_of(text.begin(), text.end(), holds);
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool alphanumeric(char c) {
  return digit(c) || letter(c);
}

struct NamedMethod {
  std::string_view name;
  StringMethod run;
};

// Each is charged for the length of its string before it runs.
constexpr NamedMethod kStringMethods[] = {
    {"strip",
     [](Interpreter&, Text t, const Arguments& a) -> Value { return strip(t, a.get(0, "chars"), true, true); }},
    {"lstrip",
     [](Interpreter&, Text t, const Arguments& a) -> Value { return strip(t, a.get(0, "chars"), true, false); }},
    {"rstrip",
     [](Interpreter&, Text t, const Arguments& a) -> Value { return strip(t, a.get(0, "chars"), false, true); }},
    {"upper", [](Interpreter&, Text t, const Arguments&) -> Value { return upper_case(t); }},
    {"lower", [](Interpreter&, Text t, const Arguments&) -> Value { return lower_case(t); }},
    {"title", [](Interpreter&, Text t, const Arguments&) -> Value { return capitalize(t, true); }},
    {"capitalize", [](Interpreter&, Text t, const Arguments&) -> Value { return capitalize(t, false); }},
    {"split",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       return split_text(t, a.get(0, "sep"), count_argument(a, 1, "maxsplit"), false);
     }},
    {"rsplit",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       return split_text(t, a.get(0, "sep"), count_argument(a, 1, "maxsplit"), true);
     }},
    {"splitlines",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       const Value* keep = a.get(0, "keepends");
       return split_lines(t, keep && keep->truthy());
     }},
    {"startswith",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       return any_affix(a, [&](Text s) { return t.starts_with(s); });
     }},
    {"endswith",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       return any_affix(a, [&](Text s) { return t.ends_with(s); });
     }},
    {"removeprefix",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       const std::string& affix = text_argument(a, 0, "prefix");
       return t.starts_with(affix) ? t.substr(affix.size()) : t;
     }},
    {"removesuffix",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       const std::string& affix = text_argument(a, 0, "suffix");
       return t.ends_with(affix) ? t.substr(0, t.size() - affix.size()) : t;
     }},
    {"replace",
     [](Interpreter& i, Text t, const Arguments& a) -> Value {
       return replace_text(i, t, text_argument(a, 0, "old"), text_argument(a, 1, "new"), count_argument(a, 2, "count"));
     }},
    {"join",
     [](Interpreter& i, Text t, const Arguments& a) -> Value {
       const Value* list = a.get(0, "iterable");
       if (!list) template_error("join needs a list");
       std::string out;
       bool first = true;
       for (const Value& part : iterate(i, *list)) {
         if (!part.is_string()) template_error("join needs strings, not ", part.type_name());
         i.charge(t.size() + part.string().size() + 1);
         if (!first) out += t;
         first = false;
         out += part.string();
       }
       return out;
     }},
    {"find", [](Interpreter&, Text t, const Arguments& a) -> Value { return find_text(t, a, false, false); }},
    {"rfind", [](Interpreter&, Text t, const Arguments& a) -> Value { return find_text(t, a, true, false); }},
    {"index", [](Interpreter&, Text t, const Arguments& a) -> Value { return find_text(t, a, false, true); }},
    {"count",
     [](Interpreter&, Text t, const Arguments& a) -> Value {
       const std::string& wanted = text_argument(a, 0, "sub");
       if (wanted.empty()) return static_cast<int64_t>(utf8_count(t) + 1);
       int64_t count = 0;
       for (size_t at = t.find(wanted); at != std::string::npos; at = t.find(wanted, at + wanted.size())) ++count;
       return count;
     }},
    {"isdigit", [](Interpreter&, Text t, const Arguments&) -> Value { return all_bytes(t, digit); }},
    {"isalpha", [](Interpreter&, Text t, const Arguments&) -> Value { return all_bytes(t, letter); }},
    {"isalnum", [](Interpreter&, Text t, const Arguments&) -> Value { return all_bytes(t, alphanumeric); }},
    {"isspace",
     [](Interpreter&, Text t, const Arguments&) -> Value {
       return !t.empty() && strip(t, nullptr, true, true).empty();
     }},
    {"isupper",
     [](Interpreter&, Text t, const Arguments&) -> Value { return upper_case(t) == t && lower_case(t) != t; }},
    {"islower",
     [](Interpreter&, Text t, const Arguments&) -> Value { return lower_case(t) == t && upper_case(t) != t; }},
};

Value dict_method(const Value& object, const std::string& name) {
  if (name == "get") {
    return Value::method_of(object, Function([object](Interpreter&, const Arguments& arguments) {
                              const Value* key = arguments.get(0, "key");
                              const Value* fallback = arguments.get(1, "default");
                              const Value* found =
                                  key && key->is_string() ? object.dict().find(key->string()) : nullptr;
                              return found ? *found : fallback ? *fallback : Value();
                            }));
  }
  if (name == "items" || name == "keys" || name == "values") {
    const char which = name[0];
    return Value::method_of(
        object, Function([object, which](Interpreter& interpreter, const Arguments&) {
          interpreter.charge_elements(object.dict().items.size());
          List list;
          for (const auto& [key, value] : object.dict().items) {
            list.push_back(which == 'i' ? Value(List{key, value}) : which == 'k' ? Value(key) : value);
          }
          return Value(std::move(list));
        }));
  }
  return Value::undefined(name);
}

Value raise_exception(Interpreter&, const Arguments& arguments) {
  const Value* message = arguments.get(0, "message");
  throw Error(ErrorCode::invalid_argument,
              str("the chat template refuses the conversation: ", message ? to_text(*message) : std::string()));
}

Value strftime_now(Interpreter&, const Arguments& arguments) {
  const std::string& format = text_argument(arguments, 0, "format");
  if (format.size() > 256) template_error("strftime_now takes a format of at most 256 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[4096];
  return std::string(buffer, std::strftime(buffer, sizeof buffer, format.c_str(), &local));
}

Value range(Interpreter& interpreter, const Arguments& arguments) {
  constexpr int64_t kMaxRange = 100000;  // as in Jinja's sandbox
  int64_t bounds[3] = {0, 0, 1};
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3) template_error("range takes one to three integers");
  for (size_t i = 0; i < given.size(); ++i) {
    if (!given[i].is_integral()) template_error("range takes integers, not ", given[i].type_name());
    bounds[given.size() == 1 ? 1 : i] = given[i].integer();
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) template_error("range's step cannot be 0");
  List list;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(list.size()) >= kMaxRange) template_error("range is limited to ", kMaxRange, " numbers");
    list.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  interpreter.charge_elements(list.size());
  return list;
}

Value make_dict(Interpreter&, const Arguments& arguments) {
  Dict dict;
  if (const Value* from = arguments.get(0, "")) {
    if (!from->is_dict()) template_error("dict() takes a dict and named values");
    dict = from->dict();
  }
  for (const auto& [name, value] : arguments.named.items) dict.set(name, value);
  return dict;
}

}  // namespace

Value method(const Value& object, const std::string& name) {
  if (object.is_dict()) return dict_method(object, name);
  if (!object.is_string()) return Value::undefined(name);
  for (const NamedMethod& known : kStringMethods) {
    if (known.name != name) continue;
    return Value::method_of(object,
                            Function([object, run = known.run](Interpreter& interpreter, const Arguments& arguments) {
                              interpreter.charge(object.string().size());
                              return run(interpreter, object.string(), arguments);
                            }));
  }
  return Value::undefined(name);
}

void add_global_functions(Dict& variables) {
  variables.set("raise_exception", Function(raise_exception));
  variables.set("strftime_now", Function(strftime_now));
  variables.set("range", Function(range));
  variables.set("dict", Function(make_dict));
}

List iterate(Interpreter& interpreter, const Value& value) {
  List list;
  if (value.is_list()) {
    list = value.list();
  } else if (value.is_dict()) {
    for (const auto& [key, item] : value.dict().items) list.emplace_back(key);
  } else if (value.is_string()) {
    interpreter.charge_elements(value.string().size());
    for (const std::string_view c : characters(value.string())) list.emplace_back(std::string(c));
  } else if (!value.is_undefined()) {
    template_error("a value of type ", value.type_name(), " cannot be iterated over");
  }
  interpreter.charge_elements(list.size());
  return list;
}

}  // namespace bamba::jinja
