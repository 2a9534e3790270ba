// Runs a template's tree, within limits on steps, depth and bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/ast.h"

namespace bamba::jinja {

class Interpreter {
 public:
  /// Throws TemplateError, or Error(invalid_argument) from raise_exception.
  static std::string render(const Program& program, Dict variables);

  /// Pays for work in proportion to a value's size: every builtin that builds something calls it first.
  /// Units are bytes of text; a step of the interpreter costs as much as sixteen.
  void charge(size_t units);
  void charge_elements(size_t count) { charge(count > SIZE_MAX / 16 ? SIZE_MAX : count * 16); }
  Value call(const Value& function, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);

 private:
  class Level;
  struct Scope {
    Dict variables;
    Scope* outer;
  };
  enum class Flow { normal, break_loop, continue_loop };

  Interpreter() = default;
  ~Interpreter();

  Flow run(const Body& body, Scope& scope, std::string& out);
  Flow run(const Node& node, Scope& scope, std::string& out);
  Flow run_loop(const Node& node, Scope& scope, std::string& out);
  void assign(const Node& node, const Value& value, Scope& scope);
  void bind(const std::vector<std::string>& targets, const Value& value, Scope& scope);
  Value make_macro(const Node& node);
  Value make_namespace(const Arguments& arguments);
  void write(std::string& out, std::string_view text);

  Value eval(const Expr& expr, Scope& scope);
  Value eval_compare(const Expr& expr, Scope& scope);
  Value eval_slice(const Expr& expr, Scope& scope);
  Value eval_filter(const Expr& expr, Value input, Scope& scope);
  Value binary(const std::string& op, const Value& a, const Value& b);
  bool contains(const Value& container, const Value& wanted);
  Value lookup(const std::string& name, const Scope& scope) const;
  Arguments eval_arguments(const CallArguments& arguments, Scope& scope);

  Scope global_{{}, nullptr};
  int64_t steps_left_ = 10'000'000;
  int depth_ = 0;   // of calls
  int levels_ = 0;  // of the tree
  int line_ = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // emptied at the end: they may hold themselves
};

/// The elements that iterating gives: a list's, a dict's keys, a string's characters.
List iterate(Interpreter& interpreter, const Value& value);
/// Characters of a text, as views.
std::vector<std::string_view> characters(std::string_view text);

// builtins: each throws TemplateError for unknown names and wrong arguments.
Value apply_filter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
bool apply_test(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
/// Methods of strings and dicts; undefined when there is none of that name.
Value method(const Value& object, const std::string& name);
/// raise_exception, strftime_now, range, dict, namespace excluded.
void add_global_functions(Dict& variables);

}  // namespace bamba::jinja
