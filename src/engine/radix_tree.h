// A radix tree over token ids: texts with the same beginning share its path. Knows nothing of what is kept at its nodes
// but a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

namespace bamba {

class RadixTree {
 public:
  struct Node {
    Node* parent = nullptr;
    std::vector<int64_t> edge;                          ///< the ids between the parent and here; empty at the root only
    int64_t end = 0;                                    ///< tokens from the root to here
    std::map<int64_t, std::unique_ptr<Node>> children;  ///< by the first id of their edges
    uint64_t value = 0;                                 ///< the user's; 0: none
    uint64_t seen = 0;                                  ///< which insert() or note() came along here last
  };

  RadixTree();
  ~RadixTree();
  RadixTree(const RadixTree&) = delete;
  RadixTree& operator=(const RadixTree&) = delete;

  /// The node at the end of `ids`, made if there is none; the caller gives it a value. It stays where it is until
  /// clear().
  Node& insert(std::span<const int64_t> ids);
  /// Makes `ids` known without a value.
  void note(std::span<const int64_t> ids);
  /// The nodes with a value that lie on the path of `ids`, at most max_length deep; the deepest last.
  std::vector<Node*> path(std::span<const int64_t> ids, int64_t max_length) const;
  /// How many of `ids` the tree has a path for.
  int64_t shared_length(std::span<const int64_t> ids) const;
  /// Takes a node's value. Its text remains known (the node may go: a branch that nothing leaves any more does).
  void clear(Node& node);
  /// Removes texts that end without a value, those first that were inserted longest ago, until at most `target` bytes
  /// are left or no such text.
  void forget(size_t target);

  const Node& root() const { return *root_; }
  /// Memory of the tree itself.
  size_t bytes() const { return bytes_; }

 private:
  /// Where `ids` leaves the tree: inside or at the end of node's edge, after `matched` of its ids.
  struct Place {
    Node* node;
    size_t matched;
  };
  Place locate(std::span<const int64_t> ids) const;
  Node& add_child(Node& parent, std::span<const int64_t> edge);
  Node& split(Node& node, size_t at);
  void join_if_idle(Node& node);
  void mark_seen(Node* node);
  static size_t size_of(const Node& node);

  std::unique_ptr<Node> root_;
  size_t bytes_ = 0;
  uint64_t inserts_ = 0;
};

}  // namespace bamba
