// Which tokens may come next in a state of the automaton, found by walking the tree of tokens and kept.
#pragma once

#include <bamba/constraint.h>

#include <memory>
#include <vector>

#include "constraint/automaton.h"
#include "constraint/lru_cache.h"
#include "constraint/token_tree.h"

namespace bamba {

/// For one automaton. Not for several threads at once.
///
/// Nearly all of a mask depends only on the rule that the text is in the middle of: inside a JSON string any character
/// may come, whatever the string is in. So the walk is done on the local state, once, and remembers the nodes of the
/// tree where the rule may have ended; only what is below these is walked for each place that the rule is called from.
class TokenMasks {
 public:
  TokenMasks(std::shared_ptr<const TokenVocabulary::Impl> vocabulary, size_t cache_bytes);

  std::shared_ptr<const TokenMask> find(Automaton& automaton, StateId state);
  /// For another automaton than before.
  void clear() { cache_.clear(); }

 private:
  struct Entry {
    std::shared_ptr<const TokenMask> mask;
    std::vector<uint32_t> escapes;  // local states only: nodes of the tree where the rule may have ended
  };

  const Entry& local_mask(Automaton& automaton, StateId local);
  void walk(Automaton& automaton, StateId state, uint32_t root, TokenMask& mask, std::vector<uint32_t>* escapes);

  std::shared_ptr<const TokenVocabulary::Impl> vocabulary_;
  LruCache<Entry> cache_;
  std::vector<StateId> path_;  // [depth]
};

}  // namespace bamba
