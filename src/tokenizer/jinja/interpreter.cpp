#include "tokenizer/jinja/interpreter.h"

#include <algorithm>

#include "tokenizer/jinja/arithmetic.h"
#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

constexpr int kMaxCallDepth = 40;  // macros inside macros
constexpr size_t kUnitsInAStep = 16;
constexpr int kMaxLevels = 2000;                      // of all recursion: what the stack can hold
constexpr size_t kMaxOutputBytes = size_t{16} << 20;  // of the whole rendering or of one string

/// Python's slice.indices() for one bound.
int64_t clamp_bound(const Value& bound, int64_t size, int64_t fallback, bool forward) {
  if (bound.is_none()) return fallback;
  if (!bound.is_integral()) template_error("a slice's bounds must be integers, not ", bound.type_name());
  int64_t index = bound.integer();
  if (index < 0) index = index < -size ? -1 : index + size;
  return std::clamp<int64_t>(index, forward ? 0 : -1, forward ? size : size - 1);
}

}  // namespace

/// One level of recursion over the tree, for as long as it lives.
class Interpreter::Level {
 public:
  explicit Level(Interpreter& self) : self_(self) {
    if (++self_.levels_ > kMaxLevels) template_error("more than ", kMaxLevels, " levels of nested work");
  }
  ~Level() { --self_.levels_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Interpreter& self_;
};

std::string Interpreter::render(const Program& program, Dict variables) {
  Interpreter self;
  self.global_.variables = std::move(variables);
  add_global_functions(self.global_.variables);
  self.global_.variables.set("namespace", Value(Function([](Interpreter& interpreter, const Arguments& arguments) {
                               return interpreter.make_namespace(arguments);
                             })));
  std::string out;
  try {
    self.run(program.body, self.global_, out);
  } catch (const TemplateError& error) {
    throw TemplateError{str("line ", self.line_, ": ", error.message)};
  }
  return out;
}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->fields.items.clear();
}

void Interpreter::charge(size_t units) {
  if (units > kMaxOutputBytes) template_error("a value of more than ", kMaxOutputBytes, " bytes");
  steps_left_ -= 1 + static_cast<int64_t>(units / kUnitsInAStep);
  if (steps_left_ < 0) template_error("the template takes too many steps");
}

void Interpreter::write(std::string& out, std::string_view text) {
  charge(text.size());
  if (out.size() + text.size() > kMaxOutputBytes) template_error("the output exceeds ", kMaxOutputBytes, " bytes");
  out += text;
}

Value Interpreter::make_namespace(const Arguments& arguments) {
  charge(160);
  auto space = std::make_shared<Namespace>();
  for (const Value& value : arguments.positional) {
    if (!value.is_dict()) template_error("namespace() takes dicts and named values");
    space->fields = value.dict();
  }
  for (const auto& [name, value] : arguments.named.items) space->fields.set(name, value);
  namespaces_.push_back(space);
  return space;
}

Interpreter::Flow Interpreter::run(const Body& body, Scope& scope, std::string& out) {
  for (const auto& node : body) {
    const Flow flow = run(*node, scope, out);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const Node& node, Scope& scope, std::string& out) {
  const Level level(*this);
  charge(1);
  line_ = node.line;
  switch (node.kind) {
    case Node::Kind::text:
      write(out, node.text);
      break;
    case Node::Kind::output:
      write(out, to_text(eval(*node.expr, scope)));
      break;
    case Node::Kind::branch:
      return run(eval(*node.expr, scope).truthy() ? node.body : node.otherwise, scope, out);
    case Node::Kind::loop:
      return run_loop(node, scope, out);
    case Node::Kind::assign:
      assign(node, eval(*node.expr, scope), scope);
      break;
    case Node::Kind::assign_block:
    case Node::Kind::filter_block: {
      std::string text;
      Scope inner{{}, &scope};
      const Flow flow = run(node.body, inner, text);
      Value value(std::move(text));
      if (node.expr) value = eval_filter(*node.expr, std::move(value), scope);
      if (node.kind == Node::Kind::assign_block) {
        assign(node, value, scope);
      } else {
        write(out, to_text(value));
      }
      return flow;
    }
    case Node::Kind::macro:
      scope.variables.set(node.text, make_macro(node));
      break;
    case Node::Kind::block: {
      Scope inner{{}, &scope};
      return run(node.body, inner, out);
    }
    case Node::Kind::break_loop:
      return Flow::break_loop;
    case Node::Kind::continue_loop:
      return Flow::continue_loop;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_loop(const Node& node, Scope& scope, std::string& out) {
  List items = iterate(*this, eval(*node.expr, scope));
  if (node.condition) {
    List kept;
    for (Value& value : items) {
      Scope inner{{}, &scope};
      bind(node.targets, value, inner);
      if (eval(*node.condition, inner).truthy()) kept.push_back(std::move(value));
    }
    items = std::move(kept);
  }
  const auto count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) {
    charge(160);
    Scope inner{{}, &scope};
    Dict loop;
    loop.items = {{"index", Value(i + 1)},
                  {"index0", Value(i)},
                  {"first", Value(i == 0)},
                  {"last", Value(i + 1 == count)},
                  {"length", Value(count)},
                  {"revindex", Value(count - i)},
                  {"revindex0", Value(count - i - 1)},
                  {"depth", Value(int64_t{1})},
                  {"depth0", Value(int64_t{0})}};
    if (i > 0) loop.set("previtem", items[static_cast<size_t>(i - 1)]);
    if (i + 1 < count) loop.set("nextitem", items[static_cast<size_t>(i + 1)]);
    loop.set("cycle", Value(Function([i](Interpreter&, const Arguments& arguments) {
               if (arguments.positional.empty()) template_error("loop.cycle() needs values");
               return arguments.positional[static_cast<size_t>(i) % arguments.positional.size()];
             })));
    inner.variables.set("loop", Value(std::move(loop)));
    bind(node.targets, items[static_cast<size_t>(i)], inner);
    if (run(node.body, inner, out) == Flow::break_loop) break;
  }
  // Jinja runs {% else %} only for an empty sequence, also after a break.
  if (count == 0) return run(node.otherwise, scope, out);
  return Flow::normal;
}

void Interpreter::bind(const std::vector<std::string>& targets, const Value& value, Scope& scope) {
  if (targets.size() == 1) {
    scope.variables.set(targets[0], value);
    return;
  }
  const List parts = iterate(*this, value);
  if (parts.size() != targets.size()) {
    template_error("cannot unpack ", parts.size(), " values into ", targets.size(), " names");
  }
  for (size_t i = 0; i < parts.size(); ++i) scope.variables.set(targets[i], parts[i]);
}

void Interpreter::assign(const Node& node, const Value& value, Scope& scope) {
  if (node.attribute.empty()) return bind(node.targets, value, scope);
  const Value target = lookup(node.targets[0], scope);
  if (!target.is_namespace()) template_error("only a namespace's attributes can be set");
  target.name_space().fields.set(node.attribute, value);
}

Value Interpreter::make_macro(const Node& node) {
  return Function([&node](Interpreter& self, const Arguments& arguments) {
    const size_t count = node.targets.size();
    if (arguments.positional.size() > count) {
      template_error("the macro ", node.text, " takes ", count, " arguments, not ", arguments.positional.size());
    }
    Scope scope{{}, &self.global_};
    for (size_t i = 0; i < count; ++i) {
      const size_t first_default = count - node.defaults.size();
      if (const Value* given = arguments.get(i, node.targets[i])) {
        scope.variables.set(node.targets[i], *given);
      } else if (i >= first_default) {
        scope.variables.set(node.targets[i], self.eval(*node.defaults[i - first_default], scope));
      } else {
        scope.variables.set(node.targets[i], Value::undefined(node.targets[i]));
      }
    }
    for (const auto& [name, value] : arguments.named.items) {
      if (std::find(node.targets.begin(), node.targets.end(), name) == node.targets.end()) {
        template_error("the macro ", node.text, " has no parameter ", name);
      }
    }
    std::string out;
    self.run(node.body, scope, out);
    return Value(std::move(out));
  });
}

Value Interpreter::call(const Value& function, const Arguments& arguments) {
  if (function.is_undefined()) template_error("'", function.undefined_name(), "' is undefined");
  if (!function.is_function()) template_error("a value of type ", function.type_name(), " cannot be called");
  if (++depth_ > kMaxCallDepth) template_error("calls are nested deeper than ", kMaxCallDepth, " levels");
  charge(1);
  Value result = function.function()(*this, arguments);
  --depth_;
  return result;
}

Value Interpreter::lookup(const std::string& name, const Scope& scope) const {
  for (const Scope* at = &scope; at; at = at->outer) {
    if (const Value* value = at->variables.find(name)) return *value;
  }
  return Value::undefined(name);
}

Arguments Interpreter::eval_arguments(const CallArguments& arguments, Scope& scope) {
  Arguments result;
  for (const auto& argument : arguments.positional) result.positional.push_back(eval(*argument, scope));
  for (const auto& [name, argument] : arguments.named) result.named.set(name, eval(*argument, scope));
  return result;
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) template_error("'", object.undefined_name(), "' is undefined, so it has no ", name);
  if (object.is_namespace()) {
    const Value* found = object.name_space().fields.find(name);
    return found ? *found : Value::undefined(name);
  }
  if (Value found = method(object, name); !found.is_undefined()) return found;
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(name)) return *found;
  }
  return Value::undefined(name);
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) template_error("'", object.undefined_name(), "' is undefined, so it has no items");
  if (object.is_list() && key.is_integral()) {
    const auto size = static_cast<int64_t>(object.list().size());
    const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index < 0 || index >= size) return Value::undefined(str("item ", key.integer()));
    return object.list()[static_cast<size_t>(index)];
  }
  if (object.is_string() && key.is_integral()) {
    charge_elements(object.string().size());
    const auto parts = characters(object.string());
    const auto size = static_cast<int64_t>(parts.size());
    const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index < 0 || index >= size) return Value::undefined(str("character ", key.integer()));
    return std::string(parts[static_cast<size_t>(index)]);
  }
  if (!key.is_string()) return Value::undefined(to_repr(key));
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(key.string())) return *found;
  }
  return attribute(object, key.string());
}

Value Interpreter::eval_slice(const Expr& expr, Scope& scope) {
  const Value object = eval(*expr.parts[0], scope);
  const auto bound = [&](size_t i) { return expr.parts[i] ? eval(*expr.parts[i], scope) : Value(); };
  const Value step_value = bound(3);
  if (!step_value.is_none() && !step_value.is_integral()) template_error("a slice's step must be an integer");
  const int64_t step = step_value.is_none() ? 1 : step_value.integer();
  if (step == 0) template_error("a slice's step cannot be 0");
  if (!object.is_list() && !object.is_string()) template_error("cannot slice a value of type ", object.type_name());
  charge_elements(object.is_list() ? object.list().size() : object.string().size());
  const auto parts = object.is_string() ? characters(object.string()) : std::vector<std::string_view>();
  const auto size = static_cast<int64_t>(object.is_list() ? object.list().size() : parts.size());
  const bool forward = step > 0;
  const int64_t begin = clamp_bound(bound(1), size, forward ? 0 : size - 1, forward);
  const int64_t end = clamp_bound(bound(2), size, forward ? size : -1, forward);
  List list;
  std::string text;
  for (int64_t i = begin; forward ? i < end : i > end;) {
    if (object.is_list()) {
      list.push_back(object.list()[static_cast<size_t>(i)]);
    } else {
      text += parts[static_cast<size_t>(i)];
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return object.is_list() ? Value(std::move(list)) : Value(std::move(text));
}

bool Interpreter::contains(const Value& container, const Value& wanted) {
  if (container.is_string()) {
    if (!wanted.is_string()) template_error("'in <string>' needs a string, not ", wanted.type_name());
    charge(container.string().size());
    return container.string().find(wanted.string()) != std::string::npos;
  }
  if (container.is_dict()) return wanted.is_string() && container.dict().find(wanted.string());
  const List items = iterate(*this, container);
  return std::any_of(items.begin(), items.end(), [&](const Value& value) { return equal(value, wanted); });
}

Value Interpreter::eval_compare(const Expr& expr, Scope& scope) {
  Value left = eval(*expr.parts[0], scope);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    const std::string& op = expr.operators[i];
    Value right = eval(*expr.parts[i + 1], scope);
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = equal(left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(right, left) == (op == "in");
    } else if (op == "<" || op == ">") {
      holds = op == "<" ? less(left, right) : less(right, left);
    } else {
      holds = op == "<=" ? less(left, right) || equal(left, right) : less(right, left) || equal(left, right);
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::binary(const std::string& op, const Value& a, const Value& b) {
  if (op == "~") {
    std::string text = to_text(a);
    text += to_text(b);
    charge(text.size());
    return text;
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    charge(a.string().size() + b.string().size());
    return a.string() + b.string();
  }
  if (op == "+" && a.is_list() && b.is_list()) {
    charge_elements(a.list().size() + b.list().size());
    List joined = a.list();
    joined.insert(joined.end(), b.list().begin(), b.list().end());
    return joined;
  }
  if (op == "*" && (a.is_string() || b.is_string()) && (a.is_integral() || b.is_integral())) {
    const std::string& text = a.is_string() ? a.string() : b.string();
    const int64_t times = std::max<int64_t>(0, a.is_string() ? b.integer() : a.integer());
    if (times > 0 && text.size() > kMaxOutputBytes / static_cast<size_t>(times)) {
      template_error("a value of more than ", kMaxOutputBytes, " bytes");
    }
    charge(text.size() * static_cast<size_t>(times));
    std::string out;
    for (int64_t i = 0; i < times && !text.empty(); ++i) out += text;
    return out;
  }
  for (const Value* side : {&a, &b}) {
    if (side->is_undefined()) template_error("'", side->undefined_name(), "' is undefined");
  }
  return arithmetic(op, a, b);
}

Value Interpreter::eval_filter(const Expr& expr, Value input, Scope& scope) {
  // A chain of filters over a block has the block's text at its far end.
  if (expr.parts[0]) input = eval_filter(*expr.parts[0], std::move(input), scope);
  charge(1);
  return apply_filter(*this, expr.name, input, eval_arguments(expr.arguments, scope));
}

Value Interpreter::eval(const Expr& expr, Scope& scope) {
  const Level level(*this);
  charge(1);
  const auto part = [&](size_t i) { return eval(*expr.parts[i], scope); };
  switch (expr.kind) {
    case Expr::Kind::literal:
      return expr.value;
    case Expr::Kind::name:
      return lookup(expr.name, scope);
    case Expr::Kind::list: {
      List list;
      for (const auto& element : expr.parts) list.push_back(eval(*element, scope));
      return list;
    }
    case Expr::Kind::dict: {
      Dict dict;
      for (size_t i = 0; i < expr.parts.size(); i += 2) {
        charge(dict.items.size());
        const Value key = part(i);
        dict.set(key.is_string() ? key.string() : to_text(key), part(i + 1));
      }
      return dict;
    }
    case Expr::Kind::attribute:
      return attribute(part(0), expr.name);
    case Expr::Kind::item: {
      const Value object = part(0);
      return item(object, part(1));
    }
    case Expr::Kind::slice:
      return eval_slice(expr, scope);
    case Expr::Kind::call: {
      const Value function = part(0);
      return call(function, eval_arguments(expr.arguments, scope));
    }
    case Expr::Kind::filter: {
      const Value input = part(0);
      return apply_filter(*this, expr.name, input, eval_arguments(expr.arguments, scope));
    }
    case Expr::Kind::test: {
      const Value input = part(0);
      return apply_test(*this, expr.name, input, eval_arguments(expr.arguments, scope));
    }
    case Expr::Kind::logical_not:
      return !part(0).truthy();
    case Expr::Kind::logical_and: {
      Value left = part(0);
      return left.truthy() ? part(1) : left;
    }
    case Expr::Kind::logical_or: {
      Value left = part(0);
      return left.truthy() ? left : part(1);
    }
    case Expr::Kind::conditional:
      if (part(1).truthy()) return part(0);
      return expr.parts[2] ? part(2) : Value::undefined("an if without else");
    case Expr::Kind::negate:
      return binary("-", Value(int64_t{0}), part(0));
    case Expr::Kind::plus:
      return binary("+", Value(int64_t{0}), part(0));
    case Expr::Kind::binary: {
      const Value left = part(0);
      return binary(expr.name, left, part(1));
    }
    case Expr::Kind::compare:
      return eval_compare(expr, scope);
  }
  return {};
}

}  // namespace bamba::jinja
