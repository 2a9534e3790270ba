#include "constraint/number_multiple.h"

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include "constraint/automaton.h"
#include "constraint/byte_automaton.h"

namespace bamba {
namespace {

/// Digits behind the point; kWhole before there is one.
constexpr int kWhole = -1;

/// The numerals of the range that have at most so many digits behind the point.
ByteAutomaton cut_range(const Grammar& range, int most_behind) {
  using Place = std::pair<StateId, int>;  // and digits behind the point
  Automaton automaton(std::make_shared<const Program>(range, Program::ByteSet().set()));
  const auto step = [&](Place at, uint8_t byte) -> std::optional<Place> {
    at.first = automaton.next(at.first, byte);
    if (byte == '.' || at.second != kWhole) ++at.second;
    if (at.first == kDeadState || at.second > most_behind) return {};
    return at;
  };
  const auto accepts = [&](const Place& at) { return automaton.accepts(at.first); };
  // A range is put together of many alternatives that end alike. Each state less is one less for each remainder.
  return merge_equal(explore(Place{automaton.start(), kWhole}, {'-', '9'}, step, accepts));
}

/// What must be remembered of a numeral's beginning. Its digits, the point left out, are a whole number.
struct Numeral {
  uint32_t range = 0;    ///< state of the range's automaton
  uint32_t residue = 0;  ///< of the whole number divided by the step's digits
  int zeros = 0;         ///< by so many powers of ten it can be divided to a multiple of them, as far as is asked for
  int behind = kWhole;   ///< digits behind the point
  friend bool operator==(const Numeral&, const Numeral&) = default;
  friend bool operator<(const Numeral& a, const Numeral& b) {
    return std::tie(a.range, a.residue, a.zeros, a.behind) < std::tie(b.range, b.residue, b.zeros, b.behind);
  }
};

class MultipleAutomaton {
 public:
  MultipleAutomaton(const DecimalStep& step, const Grammar& range)
      : digits_(step.digits),
        zeros_(std::max(step.shift, 0)),
        behind_(std::max(-step.shift, 0)),
        range_(cut_range(range, behind_ == 0 ? kWhole : behind_)) {}

  ByteAutomaton make() const {
    // No digits are a zero, which any power of ten divides.
    const Numeral start{0, 0, zeros_, kWhole};
    return explore(
        start, {'-', '9'}, [this](const Numeral& from, uint8_t byte) { return step(from, byte); },
        [this](const Numeral& numeral) { return accepts(numeral); });
  }

 private:
  std::optional<Numeral> step(Numeral numeral, uint8_t byte) const {
    const auto& arcs = range_.states[numeral.range].arcs;
    const auto arc = std::find_if(arcs.begin(), arcs.end(), [byte](const auto& a) { return byte <= a.high; });
    if (arc == arcs.end() || byte < arc->low) return {};
    numeral.range = arc->target;
    if (byte == '-') return numeral;
    if (byte == '.' || numeral.behind != kWhole) ++numeral.behind;
    if (byte == '.') return numeral;
    const uint32_t digit = byte - uint32_t{'0'};
    numeral.zeros = digit == 0 && numeral.residue == 0 ? std::min(numeral.zeros + 1, zeros_) : 0;
    numeral.residue = (10 * numeral.residue + digit) % digits_;
    return numeral;
  }

  bool accepts(const Numeral& numeral) const {
    if (!range_.states[numeral.range].accepts || numeral.zeros != zeros_) return false;
    // Digits behind the point that are not written are zeros.
    uint32_t residue = numeral.residue;
    for (int i = std::max(numeral.behind, 0); i < behind_; ++i) residue = 10 * residue % digits_;
    return residue == 0;
  }

  uint32_t digits_;
  int zeros_;
  int behind_;
  ByteAutomaton range_;
};

}  // namespace

std::optional<ExpressionId> multiples_within(Grammar& grammar, const DecimalStep& step, const Grammar& range) {
  grammar.count_parts(range.size());
  ByteAutomaton multiples = MultipleAutomaton(step, range).make();
  const auto& states = multiples.states;
  if (std::none_of(states.begin(), states.end(), [](const auto& state) { return state.accepts; })) return {};
  return grammar.automaton(std::move(multiples));
}

}  // namespace bamba
