// The radix tree against a plain map from texts to values.
#include "engine/radix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace bamba {
namespace {

using Ids = std::vector<int64_t>;

int64_t common(const Ids& a, const Ids& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

/// Every promise of the structure; returns the number of nodes.
size_t check(const RadixTree::Node& node, Ids& text, std::map<Ids, uint64_t>& values) {
  size_t nodes = 1;
  EXPECT_EQ(node.end, static_cast<int64_t>(text.size()));
  if (node.value != 0) values[text] = node.value;
  EXPECT_TRUE(node.value != 0 || node.children.size() != 1 || node.parent == nullptr) << "an idle node was not joined";
  for (const auto& [id, child] : node.children) {
    EXPECT_EQ(child->parent, &node);
    EXPECT_FALSE(child->edge.empty());
    EXPECT_EQ(child->edge.front(), id);
    text.insert(text.end(), child->edge.begin(), child->edge.end());
    nodes += check(*child, text, values);
    text.resize(text.size() - child->edge.size());
  }
  return nodes;
}

/// Few letters, so that texts share beginnings; sometimes a beginning or a continuation of an earlier text.
Ids random_text(std::mt19937_64& random, const std::vector<Ids>& earlier) {
  Ids text;
  if (!earlier.empty() && random() % 2 == 0) {
    text = earlier[random() % earlier.size()];
    text.resize(random() % (text.size() + 1));
  }
  for (size_t more = random() % 8; more > 0; --more) text.push_back(static_cast<int64_t>(random() % 3));
  if (text.empty()) text.push_back(0);
  return text;
}

TEST(RadixTree, AgreesWithAMapOverRandomTexts) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    RadixTree tree;
    std::map<Ids, uint64_t> values;
    std::map<Ids, RadixTree::Node*> nodes;
    std::vector<Ids> texts;
    for (uint64_t step = 1; step <= 120; ++step) {
      const Ids ids = random_text(random, texts);
      if (random() % 4 == 0 && !values.empty()) {
        auto victim = std::next(values.begin(), static_cast<int64_t>(random() % values.size()));
        tree.clear(*nodes.at(victim->first));
        nodes.erase(victim->first);
        values.erase(victim);
      } else if (random() % 4 == 0) {
        tree.note(ids);
        texts.push_back(ids);
      } else {
        RadixTree::Node& node = tree.insert(ids);
        ASSERT_EQ(node.end, static_cast<int64_t>(ids.size()));
        node.value = step;
        values[ids] = step;
        nodes[ids] = &node;
        texts.push_back(ids);
      }
      for (const auto& [text, node] : nodes) ASSERT_EQ(node->value, values.at(text)) << "a node has moved";

      const Ids asked = random_text(random, texts);
      const auto limit = static_cast<int64_t>(random() % (asked.size() + 2));
      std::vector<uint64_t> expected;
      for (int64_t length = 1; length <= std::min(limit, static_cast<int64_t>(asked.size())); ++length) {
        const auto found = values.find(Ids(asked.begin(), asked.begin() + length));
        if (found != values.end()) expected.push_back(found->second);
      }
      std::vector<uint64_t> got;
      for (const RadixTree::Node* node : tree.path(asked, limit)) got.push_back(node->value);
      ASSERT_EQ(got, expected);
      int64_t shared = 0;
      for (const Ids& text : texts) shared = std::max(shared, common(asked, text));
      ASSERT_EQ(tree.shared_length(asked), shared) << "a text that was inserted stays known when its value goes";

      Ids text;
      std::map<Ids, uint64_t> held;
      check(tree.root(), text, held);
      ASSERT_EQ(held, values);
    }
  }
}

TEST(RadixTree, ForgetsTextsWithoutAValueTheOldestFirst) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    RadixTree tree;
    const size_t empty = tree.bytes();
    std::map<Ids, uint64_t> values;
    std::vector<Ids> texts;
    for (uint64_t step = 1; step <= 200; ++step) {
      Ids ids = random_text(random, texts);
      if (random() % 3 == 0) {
        tree.insert(ids).value = step;
        values[ids] = step;
      } else {
        tree.note(ids);
      }
      texts.push_back(std::move(ids));
    }
    const size_t full = tree.bytes();
    for (const size_t target : {full * 3 / 4, full / 2, size_t{0}}) {
      tree.forget(target);
      Ids text;
      std::map<Ids, uint64_t> held;
      const size_t nodes = check(tree.root(), text, held);
      EXPECT_EQ(held, values);
      if (target == 0) {
        // What is left is there for the values: no leaf without one.
        EXPECT_LE(nodes, 2 * values.size() + 1);
        for (const Ids& gone : texts) {
          int64_t shared = 0;
          for (const auto& [kept, value] : values) shared = std::max(shared, common(gone, kept));
          EXPECT_EQ(tree.shared_length(gone), shared);
        }
      }
    }
    for (const auto& [kept, value] : values) tree.clear(*tree.path(kept, static_cast<int64_t>(kept.size())).back());
    tree.forget(0);
    EXPECT_EQ(tree.bytes(), empty) << "bytes are counted wrong";
    EXPECT_TRUE(tree.root().children.empty());
  }
  RadixTree tree;
  const Ids old = {1, 2, 3};
  const Ids fresh = {7, 8, 9};
  tree.note(old);
  tree.note(fresh);
  tree.forget(tree.bytes() - 1);
  EXPECT_EQ(tree.shared_length(old), 0);
  EXPECT_EQ(tree.shared_length(fresh), 3);
}

TEST(RadixTree, ATextOfManyNodesNeedsNoDeepStack) {
  RadixTree tree;
  Ids ids(100'000, 5);
  for (size_t length = 100; length <= ids.size(); length += 100)
    tree.insert(std::span(ids).first(length)).value = length;
  EXPECT_EQ(tree.path(ids, 50'050).back()->value, 50'000U);
}

}  // namespace
}  // namespace bamba
