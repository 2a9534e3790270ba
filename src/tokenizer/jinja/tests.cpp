// `value is test`.
#include <cmath>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/text_functions.h"

namespace bamba::jinja {
namespace {

const Value& operand(const Arguments& arguments, const std::string& name) {
  const Value* value = arguments.get(0, "other");
  if (!value) template_error("the test '", name, "' needs an argument");
  return *value;
}

int64_t whole(const Value& value, const std::string& name) {
  if (!value.is_integral()) template_error("the test '", name, "' needs an integer, not ", value.type_name());
  return value.integer();
}

}  // namespace

bool apply_test(Interpreter& interpreter, const std::string& name, const Value& v, const Arguments& arguments) {
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.truthy();
  if (name == "false") return v.is_bool() && !v.truthy();
  if (name == "integer") return v.is_int();
  if (name == "float") return v.is_float();
  if (name == "number") return v.is_number();
  if (name == "string") return v.is_string();
  if (name == "mapping") return v.is_dict();
  if (name == "sequence" || name == "iterable") {
    return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined();
  }
  if (name == "callable") return v.is_function();
  if (name == "even") return whole(v, name) % 2 == 0;
  if (name == "odd") return whole(v, name) % 2 != 0;
  if (name == "divisibleby") {
    const int64_t by = whole(operand(arguments, name), name);
    if (by == 0) template_error("division by zero");
    return by == -1 || whole(v, name) % by == 0;
  }
  if (name == "eq" || name == "equalto" || name == "sameas") return equal(v, operand(arguments, name));
  if (name == "ne") return !equal(v, operand(arguments, name));
  if (name == "lt" || name == "lessthan") return less(v, operand(arguments, name));
  if (name == "gt" || name == "greaterthan") return less(operand(arguments, name), v);
  if (name == "le") return !less(operand(arguments, name), v);
  if (name == "ge") return !less(v, operand(arguments, name));
  if (name == "in") {
    const Value& container = operand(arguments, name);
    if (container.is_string()) return v.is_string() && container.string().find(v.string()) != std::string::npos;
    for (const Value& item : iterate(interpreter, container)) {
      if (equal(item, v)) return true;
    }
    return false;
  }
  if (name == "upper" || name == "lower") {
    const std::string text = to_text(v);
    const std::string up = upper_case(text);
    const std::string low = lower_case(text);
    return up != low && text == (name == "upper" ? up : low);
  }
  template_error("there is no test named '", name, "'");
}

}  // namespace bamba::jinja
