#include "engine/radix_tree.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace bamba {

RadixTree::RadixTree() : root_(std::make_unique<Node>()) {
  bytes_ = size_of(*root_);
}

RadixTree::~RadixTree() {
  // Not by recursion: a text may pass thousands of nodes.
  std::vector<std::unique_ptr<Node>> doomed;
  doomed.push_back(std::move(root_));
  while (!doomed.empty()) {
    const std::unique_ptr<Node> node = std::move(doomed.back());
    doomed.pop_back();
    for (auto& [id, child] : node->children) doomed.push_back(std::move(child));
  }
}

size_t RadixTree::size_of(const Node& node) {
  // The entry in the parent's map (three pointers, a colour, key and value) and what the heap keeps for each of three
  // blocks.
  constexpr size_t kAround = 48 + 3 * 16;
  return sizeof(Node) + kAround + node.edge.size() * sizeof(int64_t);
}

RadixTree::Place RadixTree::locate(std::span<const int64_t> ids) const {
  Node* node = root_.get();
  for (;;) {
    const auto rest = ids.subspan(static_cast<size_t>(node->end));
    const auto next = rest.empty() ? node->children.end() : node->children.find(rest.front());
    if (next == node->children.end()) return {node, node->edge.size()};
    node = next->second.get();
    const auto differ = std::mismatch(node->edge.begin(), node->edge.end(), rest.begin(), rest.end());
    if (differ.first != node->edge.end()) return {node, static_cast<size_t>(differ.first - node->edge.begin())};
  }
}

RadixTree::Node& RadixTree::add_child(Node& parent, std::span<const int64_t> edge) {
  auto node = std::make_unique<Node>();
  node->parent = &parent;
  node->edge.assign(edge.begin(), edge.end());
  node->end = parent.end + static_cast<int64_t>(edge.size());
  bytes_ += size_of(*node);
  return *(parent.children[edge.front()] = std::move(node));
}

RadixTree::Node& RadixTree::split(Node& node, size_t at) {
  Node& parent = *node.parent;
  std::unique_ptr<Node> lower = std::move(parent.children.at(node.edge.front()));
  bytes_ -= size_of(node);
  Node& upper = add_child(parent, std::span(node.edge).first(at));
  node.edge = std::vector<int64_t>(node.edge.begin() + static_cast<std::ptrdiff_t>(at), node.edge.end());
  node.parent = &upper;
  bytes_ += size_of(node);
  upper.children[node.edge.front()] = std::move(lower);
  return upper;
}

RadixTree::Node& RadixTree::insert(std::span<const int64_t> ids) {
  const Place place = locate(ids);
  Node* node = place.node;
  if (place.matched < node->edge.size()) node = &split(*node, place.matched);
  const auto rest = ids.subspan(static_cast<size_t>(node->end));
  if (!rest.empty() && node->value == 0 && node->children.empty() && node->parent != nullptr) {
    // A text known without a value goes on: nothing marks where it ended.
    node->edge.insert(node->edge.end(), rest.begin(), rest.end());
    node->end += static_cast<int64_t>(rest.size());
    bytes_ += rest.size_bytes();
  } else if (!rest.empty()) {
    node = &add_child(*node, rest);
  }
  mark_seen(node);
  return *node;
}

void RadixTree::note(std::span<const int64_t> ids) {
  const Place place = locate(ids);
  const bool inside = shared_length(ids) == static_cast<int64_t>(ids.size());
  mark_seen(inside ? place.node : &insert(ids));
}

void RadixTree::mark_seen(Node* node) {
  ++inserts_;
  for (; node != nullptr; node = node->parent) node->seen = inserts_;
}

std::vector<RadixTree::Node*> RadixTree::path(std::span<const int64_t> ids, int64_t max_length) const {
  Place place = locate(ids);
  if (place.matched < place.node->edge.size()) place.node = place.node->parent;
  std::vector<Node*> out;
  for (Node* node = place.node; node != nullptr; node = node->parent) {
    if (node->value != 0 && node->end <= max_length) out.push_back(node);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

int64_t RadixTree::shared_length(std::span<const int64_t> ids) const {
  const Place place = locate(ids);
  return place.node->end - static_cast<int64_t>(place.node->edge.size() - place.matched);
}

void RadixTree::clear(Node& node) {
  node.value = 0;
  join_if_idle(node);
}

void RadixTree::join_if_idle(Node& node) {
  if (node.value != 0 || node.children.size() != 1 || node.parent == nullptr) return;
  Node& parent = *node.parent;
  std::unique_ptr<Node> child = std::move(node.children.begin()->second);
  bytes_ -= size_of(node) + size_of(*child);
  child->edge.insert(child->edge.begin(), node.edge.begin(), node.edge.end());
  child->parent = &parent;
  bytes_ += size_of(*child);
  parent.children[child->edge.front()] = std::move(child);  // node ends here
}

void RadixTree::forget(size_t target) {
  if (bytes_ <= target) return;
  using Leaf = std::pair<uint64_t, Node*>;
  std::priority_queue<Leaf, std::vector<Leaf>, std::greater<>> leaves;
  const auto consider = [&](Node& node) {
    if (node.children.empty() && node.value == 0 && node.parent != nullptr) leaves.emplace(node.seen, &node);
  };
  std::vector<Node*> open = {root_.get()};
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    consider(*node);
    for (auto& [id, child] : node->children) open.push_back(child.get());
  }
  while (bytes_ > target && !leaves.empty()) {
    Node* leaf = leaves.top().second;
    leaves.pop();
    Node& parent = *leaf->parent;
    bytes_ -= size_of(*leaf);
    parent.children.erase(leaf->edge.front());
    consider(parent);
    join_if_idle(parent);
  }
}

}  // namespace bamba
