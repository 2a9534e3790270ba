#include "constraint/token_masks.h"

#include <utility>

namespace bamba {
namespace {

constexpr uint64_t local_key(StateId state) {
  return uint64_t{state} << 1 | 1;
}
constexpr uint64_t full_key(StateId state) {
  return uint64_t{state} << 1;
}

}  // namespace

TokenMasks::TokenMasks(std::shared_ptr<const TokenVocabulary::Impl> vocabulary, size_t cache_bytes)
    : vocabulary_(std::move(vocabulary)), cache_(cache_bytes), path_(size_t{vocabulary_->tree.max_depth} + 1) {}

/// Allows the tokens below `root` that lead from `state`, which is where the bytes up to `root` led.
void TokenMasks::walk(Automaton& automaton, StateId state, uint32_t root, TokenMask& mask,
                      std::vector<uint32_t>* escapes) {
  const TokenTree& tree = vocabulary_->tree;
  const uint32_t end = tree.end[root];
  path_[tree.depth[root]] = state;
  for (uint32_t node = root + 1; node < end;) {
    const uint16_t depth = tree.depth[node];
    const StateId next = automaton.next(path_[depth - 1U], tree.byte[node]);
    if (next == kDeadState) {
      node = tree.end[node];
      continue;
    }
    for (uint32_t i = tree.first_token[node]; i < tree.first_token[node + 1]; ++i) mask.allow(tree.tokens[i]);
    if (escapes != nullptr && automaton.escapes(next)) escapes->push_back(node);
    if (!automaton.goes_on(next)) {
      node = tree.end[node];
      continue;
    }
    path_[depth] = next;
    ++node;
  }
}

const TokenMasks::Entry& TokenMasks::local_mask(Automaton& automaton, StateId local) {
  if (const Entry* known = cache_.find(local_key(local))) return *known;
  auto mask = std::make_shared<TokenMask>(vocabulary_->size);
  std::vector<uint32_t> escapes;
  walk(automaton, local, 0, *mask, &escapes);
  const size_t bytes = mask->words().size() * 8 + escapes.size() * 4 + 200;
  return cache_.put(local_key(local), {std::move(mask), std::move(escapes)}, bytes);
}

std::shared_ptr<const TokenMask> TokenMasks::find(Automaton& automaton, StateId state) {
  if (const Entry* known = cache_.find(full_key(state))) return known->mask;
  const auto [local, below] = automaton.localize(state);
  const Entry& inside = local_mask(automaton, local);
  auto mask = std::make_shared<TokenMask>(*inside.mask);
  if (below != kBottom) {
    const StateId outside = automaton.resume(below);
    for (const uint32_t node : inside.escapes) walk(automaton, outside, node, *mask, nullptr);
  }
  if (automaton.accepts(state)) {
    for (const int64_t eos : vocabulary_->eos) mask->allow(eos);
  }
  const size_t bytes = mask->words().size() * 8 + 200;
  return cache_.put(full_key(state), {std::move(mask), {}}, bytes).mask;
}

}  // namespace bamba
