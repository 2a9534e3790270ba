#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

constexpr int kMaxValueDepth = 100;
// Shared parts may be printed many times over, so text grows faster than the values that it shows.
constexpr size_t kMaxTextBytes = size_t{16} << 20;

void check_depth(int depth) {
  if (depth > kMaxValueDepth) template_error("a value is nested deeper than ", kMaxValueDepth, " levels");
}

void check(const std::string& out, int depth) {
  check_depth(depth);
  if (out.size() > kMaxTextBytes) template_error("a value's text is longer than ", kMaxTextBytes, " bytes");
}

/// The shortest digits that read back as the same number, in Python's choice of notation.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value,
                                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, result.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void append_hex(std::string& out, uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 15];
}

void quote_python(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      append_hex(out, byte, 2);
    } else {
      out += c;
    }
  }
  out += quote;
}

void quote_json(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    constexpr std::string_view kPlain = "\"\\\n\r\t\b\f";
    constexpr std::string_view kLetter = "\"\\nrtbf";
    if (const size_t known = kPlain.find(c); known != std::string_view::npos) {
      out += '\\';
      out += kLetter[known];
    } else if (byte < 0x20) {
      out += "\\u";
      append_hex(out, byte, 4);
    } else {
      out += c;
    }
  }
  out += '"';
}

void repr(std::string& out, const Value& value, bool top, int depth) {
  check(out, depth);
  if (value.is_undefined()) return;
  if (value.is_none()) {
    out += "None";
  } else if (value.is_bool()) {
    out += value.truthy() ? "True" : "False";
  } else if (value.is_int()) {
    out += std::to_string(value.integer());
  } else if (value.is_float()) {
    out += float_text(value.number());
  } else if (value.is_string()) {
    if (top) {
      out += value.string();
    } else {
      quote_python(out, value.string());
    }
  } else if (value.is_list()) {
    out += '[';
    for (size_t i = 0; i < value.list().size(); ++i) {
      if (i) out += ", ";
      repr(out, value.list()[i], false, depth + 1);
    }
    out += ']';
  } else if (value.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.dict().items) {
      if (!first) out += ", ";
      first = false;
      quote_python(out, key);
      out += ": ";
      repr(out, item, false, depth + 1);
    }
    out += '}';
  } else {
    out += value.is_namespace() ? "<Namespace>" : "<function>";
  }
}

void new_line(std::string& out, int indent, int depth) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
}

void json(std::string& out, const Value& value, int indent, int depth) {
  check(out, depth);
  if (value.is_none()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.truthy() ? "true" : "false";
  } else if (value.is_float() && !std::isfinite(value.number())) {
    out += std::isnan(value.number()) ? "NaN" : value.number() > 0 ? "Infinity" : "-Infinity";
  } else if (value.is_number()) {
    repr(out, value, true, depth);
  } else if (value.is_string()) {
    quote_json(out, value.string());
  } else if (value.is_list() || value.is_dict()) {
    const bool list = value.is_list();
    const size_t count = list ? value.list().size() : value.dict().items.size();
    out += list ? '[' : '{';
    for (size_t i = 0; i < count; ++i) {
      if (i) out += indent < 0 ? ", " : ",";
      new_line(out, indent, depth + 1);
      if (!list) {
        quote_json(out, value.dict().items[i].first);
        out += ": ";
      }
      json(out, list ? value.list()[i] : value.dict().items[i].second, indent, depth + 1);
    }
    if (count) new_line(out, indent, depth);
    out += list ? ']' : '}';
  } else {
    template_error("tojson cannot write a value of type ", value.type_name());
  }
}

}  // namespace

void Value::set_depth(int depth) {
  check_depth(depth);
  depth_ = depth;
}

Value::Value(List list) {
  int depth = 0;
  for (const Value& element : list) depth = std::max(depth, element.depth_);
  set_depth(depth + 1);
  data_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) {
  int depth = 0;
  for (const auto& [key, value] : dict.items) depth = std::max(depth, value.depth_);
  set_depth(depth + 1);
  data_ = std::make_shared<const Dict>(std::move(dict));
}

Value Value::method_of(const Value& object, Function function) {
  Value value(std::move(function));
  value.set_depth(object.depth_ + 1);
  return value;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(key, std::move(value));
}

const Value* Arguments::get(size_t place, std::string_view name) const {
  return place < positional.size() ? &positional[place] : named.find(name);
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return std::get<bool>(data_);
  if (is_int()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !list().empty();
  if (is_dict()) return !dict().items.empty();
  return true;
}

const char* Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "none", "bool", "int",       "float",
                                           "str",       "list", "dict", "namespace", "function"};
  return kNames[data_.index()];
}

bool equal(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    if (a.list().size() != b.list().size()) return false;
    for (size_t i = 0; i < a.list().size(); ++i) {
      if (!equal(a.list()[i], b.list()[i], depth + 1)) return false;
    }
    return true;
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    for (const auto& [key, value] : a.dict().items) {
      const Value* other = b.dict().find(key);
      if (!other || !equal(value, *other, depth + 1)) return false;
    }
    return true;
  }
  return a.is_namespace() && b.is_namespace() && &a.name_space() == &b.name_space();
}

bool less(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer();
  if (a.is_number() && b.is_number()) return a.number() < b.number();
  if (a.is_string() && b.is_string()) return a.string() < b.string();
  if (a.is_list() && b.is_list()) {
    for (size_t i = 0; i < a.list().size() && i < b.list().size(); ++i) {
      if (!equal(a.list()[i], b.list()[i], depth + 1)) return less(a.list()[i], b.list()[i], depth + 1);
    }
    return a.list().size() < b.list().size();
  }
  template_error("values of types ", a.type_name(), " and ", b.type_name(), " have no order");
}

std::string to_text(const Value& value) {
  if (value.is_string()) return value.string();
  std::string out;
  repr(out, value, true, 0);
  return out;
}

std::string to_repr(const Value& value) {
  std::string out;
  repr(out, value, false, 0);
  return out;
}

std::string to_json(const Value& value, int indent) {
  std::string out;
  json(out, value, indent, 0);
  return out;
}

}  // namespace bamba::jinja
