// Values of the template language: Python's, as far as templates see them. Lists, dicts and strings are immutable and
// shared; only a namespace changes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace bamba::jinja {

class Value;
class Interpreter;
using List = std::vector<Value>;

/// Keys in order of insertion; only strings.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

struct Arguments {
  std::vector<Value> positional;
  Dict named;
  /// The argument at a place or under a name; nullptr when it is not given.
  const Value* get(size_t place, std::string_view name) const;
};

using Function = std::function<Value(Interpreter&, const Arguments&)>;

struct Undefined {
  std::string name;  ///< for messages
};
struct Namespace {
  Dict fields;
};

class Value {
 public:
  using StringPtr = std::shared_ptr<const std::string>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using Data = std::variant<std::shared_ptr<const Undefined>, std::monostate, bool, int64_t, double, StringPtr, ListPtr,
                            DictPtr, std::shared_ptr<Namespace>, std::shared_ptr<const Function>>;

  Value() = default;                      // none
  Value(bool value) : data_(value) {}     // NOLINT(google-explicit-constructor)
  Value(int64_t value) : data_(value) {}  // NOLINT(google-explicit-constructor)
  Value(double value) : data_(value) {}   // NOLINT(google-explicit-constructor)
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}  // NOLINT
  Value(const char* text) : Value(std::string(text)) {}                                     // NOLINT
  Value(List list);                                                     // NOLINT(google-explicit-constructor)
  Value(Dict dict);                                                     // NOLINT(google-explicit-constructor)
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}  // NOLINT
  Value(Function function) : data_(std::make_shared<const Function>(std::move(function))) {}  // NOLINT
  /// A function that holds `object`.
  static Value method_of(const Value& object, Function function);
  static Value undefined(std::string name) {
    Value value;
    value.data_ = std::make_shared<const Undefined>(Undefined{std::move(name)});
    return value;
  }

  bool is_undefined() const { return data_.index() == 0; }
  bool is_none() const { return data_.index() == 1; }
  bool is_bool() const { return data_.index() == 2; }
  bool is_int() const { return data_.index() == 3; }
  bool is_float() const { return data_.index() == 4; }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_integral() const { return is_bool() || is_int(); }
  bool is_string() const { return data_.index() == 5; }
  bool is_list() const { return data_.index() == 6; }
  bool is_dict() const { return data_.index() == 7; }
  bool is_namespace() const { return data_.index() == 8; }
  bool is_function() const { return data_.index() == 9; }

  const std::string& string() const { return *std::get<StringPtr>(data_); }
  const List& list() const { return *std::get<ListPtr>(data_); }
  const Dict& dict() const { return *std::get<DictPtr>(data_); }
  Namespace& name_space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  const std::string& undefined_name() const { return std::get<0>(data_)->name; }
  int64_t integer() const { return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }

  bool truthy() const;
  /// Python's name of the type, for messages.
  const char* type_name() const;

 private:
  /// Levels of values inside values: bounded, because printing, comparing and destroying recurse. A namespace counts
  /// as none; the interpreter empties those one by one.
  int depth_ = 0;
  void set_depth(int depth);

  Data data_ = std::monostate();
};

/// Python's ==; values of different kinds are unequal. `depth` guards against namespaces that hold themselves.
bool equal(const Value& a, const Value& b, int depth = 0);
/// Python's <: throws a template error for kinds that have no order.
bool less(const Value& a, const Value& b, int depth = 0);
/// str() and repr(). `limit`: the most bytes wanted; longer results throw.
std::string to_text(const Value& value);
std::string to_repr(const Value& value);
/// json.dumps(ensure_ascii=False); indent < 0: on one line.
std::string to_json(const Value& value, int indent = -1);

/// What a failing template throws inside this folder; Template turns it into Error with a place.
struct TemplateError {
  std::string message;
};
template <typename... Parts>
[[noreturn]] void template_error(const Parts&... parts);

}  // namespace bamba::jinja

#include "base/str.h"

template <typename... Parts>
[[noreturn]] void bamba::jinja::template_error(const Parts&... parts) {
  throw TemplateError{str(parts...)};
}
