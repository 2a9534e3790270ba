// Finite automata over bytes, written out as tables: for what regular expressions do not say well, such as "a multiple
// of 7 within bounds".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "base/str.h"

namespace bamba {

/// Deterministic: no two arcs of a state have a byte in common.
struct ByteAutomaton {
  struct Arc {
    uint8_t low = 0;
    uint8_t high = 0;  ///< inclusive
    uint32_t target = 0;
    friend bool operator<(const Arc& a, const Arc& b) {
      return std::tie(a.low, a.high, a.target) < std::tie(b.low, b.high, b.target);
    }
  };
  struct State {
    bool accepts = false;
    std::vector<Arc> arcs;
    friend bool operator<(const State& a, const State& b) {
      return std::tie(a.accepts, a.arcs) < std::tie(b.accepts, b.arcs);
    }
  };
  std::vector<State> states;  ///< matching starts with the first

  static constexpr size_t kMaxStates = size_t{1} << 17;
};

struct ByteSpan {
  uint8_t first = 0;
  uint8_t last = UINT8_MAX;
};

/// The automaton of everything that `start` leads to. `step(state, byte)` gives the state behind a byte, or nothing
/// where no text goes on; only bytes of `bytes` are tried. `accepts(state)` is asked once for each state, in the order
/// of their numbers. Throws Error(invalid_argument) past ByteAutomaton::kMaxStates.
template <typename State, typename Step, typename Accepts>
ByteAutomaton explore(const State& start, ByteSpan bytes, const Step& step, const Accepts& accepts) {
  ByteAutomaton out;
  std::map<State, uint32_t> numbers;
  std::vector<const State*> met;  // keys of a map stay where they are
  const auto number_of = [&](const State& state) {
    const auto [found, is_new] = numbers.try_emplace(state, static_cast<uint32_t>(met.size()));
    if (is_new) met.push_back(&found->first);
    return found->second;
  };
  number_of(start);
  for (size_t at = 0; at < met.size(); ++at) {
    if (met.size() > ByteAutomaton::kMaxStates) {
      fail(ErrorCode::invalid_argument, "it takes an automaton of more than ", ByteAutomaton::kMaxStates, " states");
    }
    const State& from = *met[at];
    ByteAutomaton::State made;
    made.accepts = accepts(from);
    std::optional<State> last;  // that the byte before led to
    for (unsigned byte = bytes.first; byte <= bytes.last; ++byte) {
      std::optional<State> next = step(from, static_cast<uint8_t>(byte));
      const auto value = static_cast<uint8_t>(byte);
      if (next && last == next) {
        made.arcs.back().high = value;
      } else if (next) {
        made.arcs.push_back({value, value, number_of(*next)});
      }
      last = std::move(next);
    }
    out.states.push_back(std::move(made));
  }
  return out;
}

/// The same texts with as few states as can be, none of them a dead end but perhaps the start. No text may come by one
/// state twice: the automaton has no circles.
ByteAutomaton merge_equal(const ByteAutomaton& automaton);

}  // namespace bamba
