// The syntax tree of a template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace bamba::jinja {

struct Expr;
struct Node;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Node>>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  enum class Kind {
    literal,      // value
    name,         // name
    list,         // parts
    dict,         // parts: key, value, key, value, ...
    attribute,    // parts[0] . name
    item,         // parts[0] [ parts[1] ]
    slice,        // parts[0] [ parts[1] : parts[2] : parts[3] ], any of the last three null
    call,         // parts[0] ( arguments )
    filter,       // parts[0] | name ( arguments ); parts[0] null: the text of a block
    test,         // parts[0] is name ( arguments )
    logical_not,  // parts[0]
    logical_and,
    logical_or,
    conditional,  // parts[0] if parts[1] else parts[2] (or null)
    negate,
    plus,
    binary,   // name: the operator
    compare,  // parts[0] operators[0] parts[1] operators[1] parts[2] ...
  };
  Kind kind;
  int line;
  int height = 1;  ///< levels of expressions below, itself included: bounds every recursion over the tree
  Value value;
  std::string name;
  std::vector<ExprPtr> parts;
  std::vector<std::string> operators;
  CallArguments arguments;
};

struct Node {
  enum class Kind {
    text,          // text
    output,        // expr
    branch,        // expr, body, otherwise
    loop,          // targets, expr, condition (or null), body, otherwise
    assign,        // targets (or attribute of targets[0]), expr
    assign_block,  // targets, body, expr: filters over it (or null)
    macro,         // text: its name; targets: parameters; defaults; body
    filter_block,  // expr, body
    block,         // body
    break_loop,
    continue_loop,
  };
  Kind kind;
  int line;
  std::string text;
  std::string attribute;
  std::vector<std::string> targets;
  std::vector<ExprPtr> defaults;  // of the last parameters
  ExprPtr expr;
  ExprPtr condition;
  Body body;
  Body otherwise;
};

struct Program {
  std::string origin;
  Body body;
};

}  // namespace bamba::jinja
