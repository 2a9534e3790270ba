#include "constraint/byte_automaton.h"

#include <algorithm>

namespace bamba {
namespace {

class Merger {
 public:
  explicit Merger(const ByteAutomaton& from) : from_(from), merged_(from.states.size(), kUnknown) {}

  ByteAutomaton run() {
    if (merge(0) == kNowhere) return {{ByteAutomaton::State{}}};
    // States were numbered behind what they lead to: the start is the last.
    const auto last = static_cast<uint32_t>(out_.states.size() - 1);
    for (auto& state : out_.states) {
      for (auto& arc : state.arcs) arc.target = last - arc.target;
    }
    std::reverse(out_.states.begin(), out_.states.end());
    return std::move(out_);
  }

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;
  static constexpr uint32_t kNowhere = UINT32_MAX - 1;

  uint32_t merge(uint32_t id) {
    if (merged_[id] != kUnknown) return merged_[id];
    ByteAutomaton::State state;
    state.accepts = from_.states[id].accepts;
    for (const auto& arc : from_.states[id].arcs) {
      const uint32_t target = merge(arc.target);
      if (target == kNowhere) continue;
      if (!state.arcs.empty() && state.arcs.back().high + 1 == arc.low && state.arcs.back().target == target) {
        state.arcs.back().high = arc.high;
      } else {
        state.arcs.push_back({arc.low, arc.high, target});
      }
    }
    if (!state.accepts && state.arcs.empty()) return merged_[id] = kNowhere;
    const auto [found, is_new] = known_.try_emplace(state, static_cast<uint32_t>(out_.states.size()));
    if (is_new) out_.states.push_back(std::move(state));
    return merged_[id] = found->second;
  }

  const ByteAutomaton& from_;
  std::vector<uint32_t> merged_;
  std::map<ByteAutomaton::State, uint32_t> known_;
  ByteAutomaton out_;
};

}  // namespace

ByteAutomaton merge_equal(const ByteAutomaton& automaton) {
  return Merger(automaton).run();
}

}  // namespace bamba
