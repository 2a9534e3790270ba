#include "tokenizer/jinja/parser.h"

#include <algorithm>
#include <array>

#include "tokenizer/jinja/lexer.h"

namespace bamba::jinja {
namespace {

constexpr int kMaxDepth = 100;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Body run() {
    Body body = body_until({});
    if (!is(Token::Kind::end)) error("a tag that closes nothing");
    return body;
  }

 private:
  using Kind = Token::Kind;

  /// Counts nesting for the length of a scope.
  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxDepth) parser_.error(str("nesting deeper than ", kMaxDepth, " levels"));
    }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  [[noreturn]] void error(const std::string& message) const { throw SyntaxError{now().line, message}; }
  const Token& now() const { return tokens_[at_]; }
  const Token& peek() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is(Kind kind) const { return now().kind == kind; }
  bool is_op(std::string_view op) const { return is(Kind::op) && now().text == op; }
  bool is_name(std::string_view name) const { return is(Kind::name) && now().text == name; }
  bool take_op(std::string_view op) {
    if (!is_op(op)) return false;
    ++at_;
    return true;
  }
  bool take_name(std::string_view name) {
    if (!is_name(name)) return false;
    ++at_;
    return true;
  }
  void expect_op(std::string_view op) {
    if (!take_op(op)) error(str("expected '", op, "'", shown()));
  }
  void expect(Kind kind, const char* what) {
    if (!is(kind)) error(str("expected ", what, shown()));
    ++at_;
  }
  std::string shown() const { return now().text.empty() ? std::string() : str(" before '", now().text, "'"); }
  std::string identifier() {
    if (!is(Kind::name)) error("expected a name" + shown());
    return tokens_[at_++].text;
  }

  // Statements.

  std::unique_ptr<Node> node(Node::Kind kind) const {
    auto result = std::make_unique<Node>();
    result->kind = kind;
    result->line = now().line;
    return result;
  }
  bool at_tag(std::string_view name) const {
    return is(Kind::block_begin) && peek().kind == Kind::name && peek().text == name;
  }
  void end_tag() { expect(Kind::block_end, "'%}'"); }
  void close(std::string_view name) {
    if (!at_tag(name)) error(str("expected {% ", name, " %}"));
    at_ += 2;
    end_tag();
  }

  /// Stops before a tag of one of these names, or at any tag that only closes.
  Body body_until(std::initializer_list<std::string_view> stops) {
    const Depth depth(*this);
    Body body;
    for (;;) {
      if (is(Kind::end)) return body;
      if (is(Kind::text)) {
        body.push_back(node(Node::Kind::text));
        body.back()->text = now().text;
        ++at_;
      } else if (is(Kind::output_begin)) {
        body.push_back(node(Node::Kind::output));
        ++at_;
        body.back()->expr = expression_list();
        expect(Kind::output_end, "'}}'");
      } else {
        for (const std::string_view stop : stops) {
          if (at_tag(stop)) return body;
        }
        body.push_back(statement());
      }
    }
  }

  std::unique_ptr<Node> statement() {
    ++at_;
    const std::string name = identifier();
    if (name == "if") return branch();
    if (name == "for") return loop();
    if (name == "set") return assign();
    if (name == "macro") return macro();
    if (name == "filter") return filter_block();
    if (name == "generation") {
      auto result = node(Node::Kind::block);
      end_tag();
      result->body = body_until({"endgeneration"});
      close("endgeneration");
      return result;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) error(name + " outside of a loop");
      auto result = node(name == "break" ? Node::Kind::break_loop : Node::Kind::continue_loop);
      end_tag();
      return result;
    }
    error(str("the tag {% ", name, " %} is not supported here"));
  }

  std::unique_ptr<Node> branch() {
    auto result = node(Node::Kind::branch);
    result->expr = expression();
    end_tag();
    result->body = body_until({"elif", "else", "endif"});
    if (at_tag("elif")) {
      at_ += 2;
      const Depth depth(*this);
      result->otherwise.push_back(branch());
      return result;
    }
    if (at_tag("else")) {
      at_ += 2;
      end_tag();
      result->otherwise = body_until({"endif"});
    }
    close("endif");
    return result;
  }

  std::unique_ptr<Node> loop() {
    auto result = node(Node::Kind::loop);
    result->targets = target_names();
    if (!take_name("in")) error("expected 'in'");
    result->expr = expression(false);
    if (take_name("if")) result->condition = expression();
    if (is_name("recursive")) error("recursive loops are not supported");
    end_tag();
    ++loops_;
    result->body = body_until({"else", "endfor"});
    --loops_;
    if (at_tag("else")) {
      at_ += 2;
      end_tag();
      result->otherwise = body_until({"endfor"});
    }
    close("endfor");
    return result;
  }

  std::vector<std::string> target_names() {
    std::vector<std::string> names;
    const bool paren = take_op("(");
    do names.push_back(identifier());
    while (take_op(","));
    if (paren) expect_op(")");
    return names;
  }

  std::unique_ptr<Node> assign() {
    auto result = node(Node::Kind::assign);
    result->targets = target_names();
    if (result->targets.size() == 1 && take_op(".")) result->attribute = identifier();
    if (take_op("=")) {
      result->expr = expression_list();
      end_tag();
      return result;
    }
    if (result->targets.size() != 1) error("expected '='");
    result->kind = Node::Kind::assign_block;
    if (is_op("|")) result->expr = filters(nullptr);
    end_tag();
    result->body = body_until({"endset"});
    close("endset");
    return result;
  }

  std::unique_ptr<Node> macro() {
    auto result = node(Node::Kind::macro);
    result->text = identifier();
    expect_op("(");
    while (!take_op(")")) {
      result->targets.push_back(identifier());
      if (take_op("=")) {
        result->defaults.push_back(expression());
      } else if (!result->defaults.empty()) {
        error("a parameter without a default after one with");
      }
      if (!is_op(")")) expect_op(",");
    }
    end_tag();
    const int outer = std::exchange(loops_, 0);
    result->body = body_until({"endmacro"});
    loops_ = outer;
    close("endmacro");
    return result;
  }

  std::unique_ptr<Node> filter_block() {
    auto result = node(Node::Kind::filter_block);
    result->expr = filters(nullptr, true);
    end_tag();
    result->body = body_until({"endfilter"});
    close("endfilter");
    return result;
  }

  // Expressions, loosest binding first.

  ExprPtr make(Expr::Kind kind) const {
    auto result = std::make_unique<Expr>();
    result->kind = kind;
    result->line = now().line;
    return result;
  }
  template <typename... Parts>
  requires(sizeof...(Parts) > 0) ExprPtr make(Expr::Kind kind, Parts... parts) {
    ExprPtr result = make(kind);
    (adopt(*result, std::move(parts)), ...);
    return result;
  }
  /// Chains such as a + b + c + ... nest to the left without the parser nesting, but the tree is walked recursively.
  void adopt(Expr& parent, ExprPtr child) const {
    if (child) measure(parent, *child);
    parent.parts.push_back(std::move(child));
  }
  void measure(Expr& parent, const Expr& child) const {
    parent.height = std::max(parent.height, child.height + 1);
    if (parent.height > kMaxHeight) error(str("an expression of more than ", kMaxHeight, " levels"));
  }
  void give_arguments(Expr& parent) {
    parent.arguments = arguments();
    for (const auto& argument : parent.arguments.positional) measure(parent, *argument);
    for (const auto& [name, argument] : parent.arguments.named) measure(parent, *argument);
  }

  /// a, b, c without brackets is a list, as in Python.
  ExprPtr expression_list() {
    ExprPtr first = expression();
    if (!is_op(",")) return first;
    ExprPtr list = make(Expr::Kind::list, std::move(first));
    while (take_op(",")) {
      if (is(Kind::block_end) || is(Kind::output_end)) break;
      adopt(*list, expression());
    }
    return list;
  }

  ExprPtr expression(bool allow_condition = true) {
    const Depth depth(*this);
    ExprPtr value = parse_or();
    while (allow_condition && take_name("if")) {
      ExprPtr condition = parse_or();
      ExprPtr otherwise = take_name("else") ? expression() : nullptr;
      value = make(Expr::Kind::conditional, std::move(value), std::move(condition), std::move(otherwise));
    }
    return value;
  }
  ExprPtr parse_or() {
    ExprPtr left = parse_and();
    while (take_name("or")) {
      left = make(Expr::Kind::logical_or, std::move(left), parse_and());
    }
    return left;
  }
  ExprPtr parse_and() {
    ExprPtr left = parse_not();
    while (take_name("and")) {
      left = make(Expr::Kind::logical_and, std::move(left), parse_not());
    }
    return left;
  }
  ExprPtr parse_not() {
    const Depth depth(*this);
    if (take_name("not")) return make(Expr::Kind::logical_not, parse_not());
    return parse_compare();
  }
  ExprPtr parse_compare() {
    ExprPtr left = parse_sum();
    ExprPtr result;
    for (;;) {
      std::string op;
      for (const std::string_view symbol : {"==", "!=", "<", "<=", ">", ">="}) {
        if (is_op(symbol)) op = symbol;
      }
      if (is_name("in")) op = "in";
      const bool negated = is_name("not") && peek().kind == Kind::name && peek().text == "in";
      if (negated) op = "not in";
      if (op.empty()) return result ? std::move(result) : std::move(left);
      at_ += negated ? 2 : 1;
      if (!result) result = make(Expr::Kind::compare, std::move(left));
      result->operators.push_back(op);
      adopt(*result, parse_sum());
    }
  }
  template <size_t N>
  ExprPtr binary(const std::array<std::string_view, N>& operators, ExprPtr (Parser::*next)()) {
    ExprPtr left = (this->*next)();
    for (;;) {
      const auto* op = std::find_if(operators.begin(), operators.end(), [&](auto symbol) { return is_op(symbol); });
      if (op == operators.end()) return left;
      ++at_;
      left = make(Expr::Kind::binary, std::move(left), (this->*next)());
      left->name = *op;
    }
  }
  ExprPtr parse_sum() { return binary(std::array<std::string_view, 2>{"+", "-"}, &Parser::parse_concat); }
  ExprPtr parse_concat() { return binary(std::array<std::string_view, 1>{"~"}, &Parser::parse_product); }
  ExprPtr parse_product() { return binary(std::array<std::string_view, 4>{"*", "/", "//", "%"}, &Parser::parse_power); }
  ExprPtr parse_power() { return binary(std::array<std::string_view, 1>{"**"}, &Parser::parse_unary); }
  ExprPtr parse_unary() { return filters(parse_sign()); }
  ExprPtr parse_sign() {
    const Depth depth(*this);
    if (take_op("-")) return make(Expr::Kind::negate, parse_sign());
    if (take_op("+")) return make(Expr::Kind::plus, parse_sign());
    return postfix(primary());
  }

  ExprPtr primary() {
    const Depth depth(*this);
    if (is(Kind::literal)) {
      ExprPtr value = make(Expr::Kind::literal);
      value->value = now().value;
      ++at_;
      while (value->value.is_string() && is(Kind::literal) && now().value.is_string()) {
        value->value = Value(value->value.string() + now().value.string());  // neighbours join
        ++at_;
      }
      return value;
    }
    if (is(Kind::name)) {
      ExprPtr result = make(Expr::Kind::literal);
      const std::string name = identifier();
      if (name == "true" || name == "True") {
        result->value = Value(true);
      } else if (name == "false" || name == "False") {
        result->value = Value(false);
      } else if (name != "none" && name != "None") {
        result->kind = Expr::Kind::name;
        result->name = name;
      }
      return result;
    }
    if (take_op("(")) {
      if (take_op(")")) return make(Expr::Kind::list);
      ExprPtr inner = expression();
      if (!is_op(",")) {
        expect_op(")");
        return inner;
      }
      ExprPtr list = make(Expr::Kind::list, std::move(inner));
      while (take_op(",")) {
        if (is_op(")")) break;
        adopt(*list, expression());
      }
      expect_op(")");
      return list;
    }
    if (take_op("[")) {
      ExprPtr list = make(Expr::Kind::list);
      while (!take_op("]")) {
        adopt(*list, expression());
        if (!is_op("]")) expect_op(",");
      }
      return list;
    }
    if (take_op("{")) {
      ExprPtr dict = make(Expr::Kind::dict);
      while (!take_op("}")) {
        adopt(*dict, expression());
        expect_op(":");
        adopt(*dict, expression());
        if (!is_op("}")) expect_op(",");
      }
      return dict;
    }
    error("expected a value" + shown());
  }

  ExprPtr postfix(ExprPtr value) {
    for (;;) {
      if (take_op(".")) {
        value = make(Expr::Kind::attribute, std::move(value));
        if (is(Kind::literal) && now().value.is_int()) {
          value->kind = Expr::Kind::item;
          ExprPtr index = make(Expr::Kind::literal);
          index->value = now().value;
          ++at_;
          adopt(*value, std::move(index));
        } else {
          value->name = identifier();
        }
      } else if (take_op("[")) {
        value = subscript(std::move(value));
      } else if (is_op("(")) {
        value = make(Expr::Kind::call, std::move(value));
        give_arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExprPtr subscript(ExprPtr value) {
    ExprPtr bounds[3];
    int colons = 0;
    while (!is_op("]")) {
      if (take_op(":")) {
        if (++colons > 2) error("a slice with more than two ':'");
      } else if (bounds[colons]) {
        error("expected ']'" + shown());
      } else {
        bounds[colons] = expression();
      }
    }
    ++at_;
    if (colons == 0) {
      if (!bounds[0]) error("an empty subscript");
      return make(Expr::Kind::item, std::move(value), std::move(bounds[0]));
    }
    return make(Expr::Kind::slice, std::move(value), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2]));
  }

  CallArguments arguments() {
    CallArguments result;
    expect_op("(");
    while (!take_op(")")) {
      if (is(Kind::name) && peek().kind == Kind::op && peek().text == "=") {
        std::string name = identifier();
        ++at_;
        result.named.emplace_back(std::move(name), expression());
      } else {
        if (!result.named.empty()) error("a positional argument after a named one");
        result.positional.push_back(expression());
      }
      if (!is_op(")")) expect_op(",");
    }
    return result;
  }

  /// `| filter` and `is test`, in any number, and calls of their results.
  ExprPtr filters(ExprPtr value, bool first_without_bar = false) {
    for (;;) {
      if (first_without_bar || take_op("|")) {
        first_without_bar = false;
        value = make(Expr::Kind::filter, std::move(value));
        value->name = identifier();
        if (is_op("(")) give_arguments(*value);
      } else if (value && take_name("is")) {
        value = test(std::move(value));
      } else {
        return value;
      }
    }
  }

  ExprPtr test(ExprPtr value) {
    const bool negated = take_name("not");
    ExprPtr result = make(Expr::Kind::test, std::move(value));
    result->name = identifier();
    const bool argument_follows = is(Kind::literal) || is_op("[") || is_op("{") ||
                                  (is(Kind::name) && !is_name("else") && !is_name("or") && !is_name("and") &&
                                   !is_name("is") && !is_name("if") && !is_name("in") && !is_name("not"));
    if (is_op("(")) {
      give_arguments(*result);
    } else if (argument_follows) {
      result->arguments.positional.push_back(postfix(primary()));
      measure(*result, *result->arguments.positional.back());
    }
    return negated ? make(Expr::Kind::logical_not, std::move(result)) : std::move(result);
  }

  static constexpr int kMaxHeight = 400;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace bamba::jinja
