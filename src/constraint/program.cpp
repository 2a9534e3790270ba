#include "constraint/program.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/str.h"

namespace bamba {
namespace {

constexpr size_t kMaxNodes = size_t{1} << 18;
constexpr size_t kMaxEdges = size_t{1} << 20;
/// The parsers allow less; this only guards the stack.
constexpr int kMaxDepth = 2000;

}  // namespace

Program::Program(const Grammar& grammar, const ByteSet& spelled) {
  const auto& rules = grammar.rules();
  for (size_t rule = 0; rule < rules.size(); ++rule) ends_.push_back(add_node({}, {}));
  for (size_t rule = 0; rule < rules.size(); ++rule) {
    starts_.push_back(compile(grammar, rules[rule].body, ends_[rule], 0));
  }
  mark_nodes(spelled);
  refuse_left_recursion(grammar);
  if (!nodes_[starts_[0]].alive) {
    fail(ErrorCode::invalid_argument, "no text that the model's tokens can spell matches this constraint",
         rules[0].name.empty() ? "" : " (", rules[0].name, rules[0].name.empty() ? "" : " has no end or no choice)");
  }
  make_classes();
}

NodeId Program::add_node(Node node, std::span<const Edge> edges) {
  if (nodes_.size() >= kMaxNodes || edges_.size() + edges.size() > kMaxEdges) {
    fail(ErrorCode::invalid_argument, "a constraint is too large: with its repetitions written out it has more than ",
         kMaxNodes, " states");
  }
  node.first_edge = static_cast<uint32_t>(edges_.size());
  node.edges = static_cast<uint32_t>(edges.size());
  edges_.insert(edges_.end(), edges.begin(), edges.end());
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Program::split(std::span<const NodeId> targets) {
  std::vector<Edge> edges;
  edges.reserve(targets.size());
  for (const NodeId target : targets) edges.push_back({0, 0, target});
  return add_node({.kind = NodeKind::split}, edges);
}

// Networks are built from their end: what an expression leads to is there before it is.
NodeId Program::compile(const Grammar& grammar, ExpressionId id, NodeId next, int depth) {
  if (depth > kMaxDepth) {
    fail(ErrorCode::invalid_argument, "a constraint is nested deeper than ", kMaxDepth, " levels");
  }
  const Expression& expression = grammar[id];
  switch (expression.kind) {
    case ExpressionKind::literal:
      for (size_t i = expression.text.size(); i-- > 0;) {
        const auto byte = static_cast<uint8_t>(expression.text[i]);
        const Edge edge{byte, byte, next};
        next = add_node({.kind = NodeKind::bytes}, {&edge, 1});
      }
      return next;
    case ExpressionKind::chars:
      return compile_chars(expression.chars, next);
    case ExpressionKind::words:
      return compile_words(expression.words, 0, next);
    case ExpressionKind::automaton:
      return compile_automaton(grammar.automaton_of(expression), next);
    case ExpressionKind::sequence:
      for (size_t i = expression.children.size(); i-- > 0;) {
        next = compile(grammar, expression.children[i], next, depth + 1);
      }
      return next;
    case ExpressionKind::choice: {
      std::vector<NodeId> targets;
      targets.reserve(expression.children.size());
      for (const ExpressionId child : expression.children) {
        targets.push_back(compile(grammar, child, next, depth + 1));
      }
      return split(targets);
    }
    case ExpressionKind::repeat:
      return compile_repeat(grammar, expression, next, depth);
    case ExpressionKind::rule:
      return add_node({.kind = NodeKind::call, .rule = expression.rule, .next = next}, {});
  }
  fail(ErrorCode::internal, "an expression of no kind");
}

NodeId Program::compile_chars(const CharSet& set, NodeId next) {
  // Characters that end in the same byte ranges share the nodes for them.
  std::map<std::tuple<uint8_t, uint8_t, NodeId>, NodeId> tails;
  std::vector<Edge> first;
  for (const ByteSequence& sequence : utf8_sequences(set)) {
    NodeId target = next;
    for (uint32_t i = sequence.length; i-- > 1;) {
      const Edge edge{sequence.bytes[i].low, sequence.bytes[i].high, target};
      const auto [place, is_new] = tails.try_emplace({edge.low, edge.high, target}, 0);
      if (is_new) place->second = add_node({.kind = NodeKind::bytes}, {&edge, 1});
      target = place->second;
    }
    first.push_back({sequence.bytes[0].low, sequence.bytes[0].high, target});
  }
  return add_node({.kind = NodeKind::bytes}, first);
}

/// `words` are sorted and share their first `depth` bytes: a tree, so that ten thousand words are one node to begin
/// with.
NodeId Program::compile_words(std::span<const std::string> words, size_t depth, NodeId next) {
  if (words.empty()) return split({});
  if (words.size() == 1) {
    for (size_t i = words[0].size(); i-- > depth;) {
      const auto byte = static_cast<uint8_t>(words[0][i]);
      const Edge edge{byte, byte, next};
      next = add_node({.kind = NodeKind::bytes}, {&edge, 1});
    }
    return next;
  }
  // Words that agree for long would recurse for each byte of theirs: what all share is laid down at once.
  size_t shared = depth;
  const std::string& low = words.front();
  const std::string& high = words.back();
  while (shared < low.size() && shared < high.size() && low[shared] == high[shared]) ++shared;
  const bool ends_here = low.size() == shared;
  std::vector<Edge> edges;
  for (size_t begin = ends_here ? 1 : 0; begin < words.size();) {
    const char byte = words[begin][shared];
    size_t end = begin + 1;
    while (end < words.size() && words[end][shared] == byte) ++end;
    const auto value = static_cast<uint8_t>(byte);
    edges.push_back({value, value, compile_words(words.subspan(begin, end - begin), shared + 1, next)});
    begin = end;
  }
  NodeId node = add_node({.kind = NodeKind::bytes}, edges);
  if (ends_here) {
    const NodeId targets[] = {node, next};
    node = split(targets);
  }
  for (size_t i = shared; i-- > depth;) {
    const auto byte = static_cast<uint8_t>(low[i]);
    const Edge edge{byte, byte, node};
    node = add_node({.kind = NodeKind::bytes}, {&edge, 1});
  }
  return node;
}

NodeId Program::compile_automaton(const ByteAutomaton& automaton, NodeId next) {
  // States may lead to each other in any order, so the ids of their nodes are settled first: one node for each state's
  // arcs, then a split for each that accepts and goes on.
  const auto& states = automaton.states;
  const auto first = static_cast<NodeId>(nodes_.size());
  auto split_id = static_cast<NodeId>(first + states.size());
  std::vector<NodeId> entries;
  entries.reserve(states.size());
  for (const auto& state : states) {
    const auto arcs = static_cast<NodeId>(first + entries.size());
    entries.push_back(!state.accepts ? arcs : state.arcs.empty() ? next : split_id++);
  }
  std::vector<Edge> edges;
  for (const auto& state : states) {
    edges.clear();
    for (const auto& arc : state.arcs) edges.push_back({arc.low, arc.high, entries[arc.target]});
    add_node({.kind = NodeKind::bytes}, edges);
  }
  for (size_t i = 0; i < states.size(); ++i) {
    const NodeId targets[] = {static_cast<NodeId>(first + i), next};
    if (states[i].accepts && !states[i].arcs.empty()) split(targets);
  }
  return entries[0];
}

NodeId Program::compile_repeat(const Grammar& grammar, const Expression& repeat, NodeId next, int depth) {
  const ExpressionId child = repeat.children[0];
  NodeId entry = next;
  if (repeat.max == kUnbounded) {
    const Edge edges[] = {{0, 0, next}, {0, 0, next}};
    entry = add_node({.kind = NodeKind::split}, edges);
    const uint32_t first_edge = nodes_[entry].first_edge;
    const NodeId body = compile(grammar, child, entry, depth + 1);
    edges_[first_edge].target = body;
  }
  for (int64_t i = repeat.min; i < repeat.max; ++i) {
    const NodeId targets[] = {compile(grammar, child, entry, depth + 1), next};
    entry = split(targets);
  }
  for (int64_t i = 0; i < repeat.min; ++i) {
    // A node of its own even for a child without any, so that endless repetitions of nothing meet the limit.
    const NodeId target = compile(grammar, child, entry, depth + 1);
    entry = target == entry ? split({&target, 1}) : target;
  }
  return entry;
}

/// Nodes from which the end of their rule can be reached: reading bytes that are `spelled`, or nothing at all for none.
std::vector<char> Program::reach_ends(const ByteSet& spelled) const {
  // Backwards from the ends. Sources of each node, as one list with offsets.
  const auto for_each_link = [&](const auto& visit) {
    for (NodeId id = 0; id < nodes_.size(); ++id) {
      const Node& from = nodes_[id];
      if (from.kind == NodeKind::call) visit(id, from.next);
      for (const Edge& edge : edges(from)) {
        bool passable = from.kind == NodeKind::split;
        for (unsigned byte = edge.low; !passable && byte <= edge.high; ++byte) passable = spelled[byte];
        if (passable) visit(id, edge.target);
      }
    }
  };
  std::vector<uint32_t> offsets(nodes_.size() + 1, 0);
  for_each_link([&](NodeId, NodeId target) { ++offsets[target + 1]; });
  for (size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  std::vector<NodeId> sources(offsets.back());
  std::vector<uint32_t> filled(offsets.begin(), offsets.end() - 1);
  for_each_link([&](NodeId source, NodeId target) { sources[filled[target]++] = source; });

  constexpr RuleId kNone = UINT32_MAX;
  std::vector<RuleId> starts_at(nodes_.size(), kNone);
  for (RuleId rule = 0; rule < starts_.size(); ++rule) starts_at[starts_[rule]] = rule;
  std::vector<char> reached(nodes_.size(), 0);
  std::vector<std::vector<NodeId>> waiting(starts_.size());  // calls that only wait for their rule
  std::vector<NodeId> queue;
  const auto reach = [&](NodeId id) {
    if (reached[id] != 0) return;
    reached[id] = 1;
    queue.push_back(id);
  };
  for (const NodeId end : ends_) reach(end);
  while (!queue.empty()) {
    const NodeId id = queue.back();
    queue.pop_back();
    if (starts_at[id] != kNone) {
      for (const NodeId call : waiting[starts_at[id]]) reach(call);
    }
    for (uint32_t i = offsets[id]; i < offsets[id + 1]; ++i) {
      const Node& source = nodes_[sources[i]];
      if (source.kind == NodeKind::call && reached[starts_[source.rule]] == 0) {
        waiting[source.rule].push_back(sources[i]);
      } else {
        reach(sources[i]);
      }
    }
  }
  return reached;
}

void Program::mark_nodes(const ByteSet& spelled) {
  const std::vector<char> alive = reach_ends(spelled);
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    Node& node = nodes_[id];
    node.alive = alive[id] != 0;
    // Nodes come after what they lead to, loops excepted.
    if (node.kind == NodeKind::end) node.only_end = true;
    if (node.kind != NodeKind::split || node.edges == 0) continue;
    const auto out = edges(node);
    node.only_end = std::all_of(out.begin(), out.end(), [&](const Edge& edge) { return nodes_[edge.target].only_end; });
  }
}

void Program::refuse_left_recursion(const Grammar& grammar) const {
  // The calls that a rule may make before anything is read.
  const std::vector<char> empties = reach_ends({});
  const size_t count = starts_.size();
  std::vector<std::vector<RuleId>> first_calls(count);
  std::vector<char> seen(nodes_.size(), 0);
  std::vector<NodeId> stack;
  for (RuleId rule = 0; rule < count; ++rule) {
    stack.assign(1, starts_[rule]);
    while (!stack.empty()) {
      const NodeId id = stack.back();
      stack.pop_back();
      const Node& node = nodes_[id];
      if (seen[id] != 0) continue;
      seen[id] = 1;
      if (node.kind == NodeKind::split) {
        for (const Edge& edge : edges(node)) stack.push_back(edge.target);
      } else if (node.kind == NodeKind::call) {
        first_calls[rule].push_back(node.rule);
        if (empties[starts_[node.rule]] != 0) stack.push_back(node.next);
      }
    }
  }

  // A circle among the first calls, by depth-first search.
  std::vector<uint8_t> colour(count, 0);  // 1: on the path, 2: done
  std::vector<std::pair<RuleId, size_t>> path;
  for (RuleId root = 0; root < count; ++root) {
    if (colour[root] != 0) continue;
    colour[root] = 1;
    path.assign(1, {root, 0});
    while (!path.empty()) {
      const RuleId rule = path.back().first;
      if (path.back().second == first_calls[rule].size()) {
        colour[rule] = 2;
        path.pop_back();
        continue;
      }
      const RuleId called = first_calls[rule][path.back().second++];
      if (colour[called] == 1) {
        std::string circle;
        bool inside = false;
        for (const auto& step : path) {
          inside = inside || step.first == called;
          if (inside && circle.size() < 300) circle += quote(grammar.rules()[step.first].name) + " -> ";
        }
        fail(ErrorCode::invalid_argument, "a rule of the constraint begins with itself (left recursion): ", circle,
             quote(grammar.rules()[called].name), "; write it so that something is read first, or with * and +");
      }
      if (colour[called] == 0) {
        colour[called] = 1;
        path.emplace_back(called, 0);
      }
    }
  }
}

void Program::make_classes() {
  // Ranges cut the bytes at their ends; bytes between two cuts behave alike.
  std::bitset<257> cuts;
  for (const Node& node : nodes_) {
    if (node.kind != NodeKind::bytes) continue;
    for (const Edge& edge : edges(node)) {
      cuts.set(edge.low);
      cuts.set(size_t{edge.high} + 1);
    }
  }
  class_count_ = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (byte == 0 || cuts[byte]) {
      examples_.push_back(static_cast<uint8_t>(byte));
      ++class_count_;
    }
    classes_[byte] = static_cast<uint8_t>(class_count_ - 1);
  }
}

}  // namespace bamba
