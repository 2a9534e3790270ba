// A grammar as a network of nodes over bytes: for each rule a nondeterministic automaton, whose edges are byte ranges,
// jumps, and calls of other rules.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "constraint/grammar.h"

namespace bamba {

using NodeId = uint32_t;

enum class NodeKind : uint8_t {
  bytes,  ///< reads one byte of an edge's range and goes to the edge's target
  split,  ///< goes to any edge's target without reading
  call,   ///< matches a rule, then goes to `next`
  end,    ///< the rule has matched
};

struct Edge {
  uint8_t low = 0;
  uint8_t high = 0;
  NodeId target = 0;
};

struct Node {
  NodeKind kind = NodeKind::end;
  bool alive = false;     ///< some text leads from here to the end of the rule
  bool only_end = false;  ///< nothing is left to read: the rule has matched
  uint32_t first_edge = 0;
  uint32_t edges = 0;  ///< bytes, split
  RuleId rule = 0;     ///< call
  NodeId next = 0;     ///< call
};

/// Immutable once made.
class Program {
 public:
  /// Single bytes that some token spells: only these count as a way to complete a match, so that whoever keeps to live
  /// nodes can always go on, token by token, to the end.
  using ByteSet = std::bitset<256>;

  /// Throws Error(invalid_argument) for a grammar that is too large, that is left-recursive (the rules are named), or
  /// that no text of these bytes matches.
  Program(const Grammar& grammar, const ByteSet& spelled);

  const Node& node(NodeId id) const { return nodes_[id]; }
  std::span<const Edge> edges(const Node& node) const { return {edges_.data() + node.first_edge, node.edges}; }
  size_t node_count() const { return nodes_.size(); }
  NodeId start(RuleId rule) const { return starts_[rule]; }

  /// Bytes that no edge tells apart have the same class.
  uint8_t byte_class(uint8_t byte) const { return classes_[byte]; }
  uint32_t class_count() const { return class_count_; }
  uint8_t class_example(uint32_t byte_class) const { return examples_[byte_class]; }

 private:
  NodeId add_node(Node node, std::span<const Edge> edges);
  NodeId compile(const Grammar& grammar, ExpressionId id, NodeId next, int depth);
  NodeId compile_chars(const CharSet& set, NodeId next);
  NodeId compile_words(std::span<const std::string> words, size_t depth, NodeId next);
  NodeId compile_automaton(const ByteAutomaton& automaton, NodeId next);
  NodeId compile_repeat(const Grammar& grammar, const Expression& repeat, NodeId next, int depth);
  NodeId split(std::span<const NodeId> targets);
  std::vector<char> reach_ends(const ByteSet& spelled) const;
  void mark_nodes(const ByteSet& spelled);
  void refuse_left_recursion(const Grammar& grammar) const;
  void make_classes();

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<NodeId> starts_;  // [rule]
  std::vector<NodeId> ends_;    // [rule]
  uint8_t classes_[256] = {};
  std::vector<uint8_t> examples_;
  uint32_t class_count_ = 0;
};

}  // namespace bamba
