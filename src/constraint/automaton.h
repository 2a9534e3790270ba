// The deterministic automaton of a program, made as it is walked: a state is everything that the text so far may be in
// the middle of. Rules that call each other nest without a bound, so a place is a node and a stack of nodes to return
// to; stacks are shared lists, and equal states are one.
#pragma once

#include <cstdint>
#include <memory>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "constraint/program.h"

namespace bamba {

using StateId = uint32_t;
using StackId = uint32_t;

constexpr StateId kDeadState = 0;  ///< the text so far begins no match
constexpr StackId kBottom = 0;     ///< nothing to return to: when the rule ends, the text is a match
/// Stands for any stack below: when the rule ends, what follows is for whoever knows the real one.
constexpr StackId kHole = 1;

/// Where a text may be: at a node, with a stack to return to.
struct Place {
  NodeId node = 0;
  StackId stack = kBottom;
  friend bool operator==(const Place&, const Place&) = default;
  friend bool operator<(const Place& a, const Place& b) {
    return std::tie(a.node, a.stack) < std::tie(b.node, b.stack);
  }
};

/// Not for several threads at once. Grows as it is walked; its owner replaces it when it has grown too large.
class Automaton {
 public:
  explicit Automaton(std::shared_ptr<const Program> program);
  Automaton(const Automaton&) = delete;
  Automaton& operator=(const Automaton&) = delete;

  StateId start() const { return start_; }
  /// The state after one more byte. Throws Error(invalid_argument) when the constraint is too ambiguous (see step()).
  StateId next(StateId state, uint8_t byte) {
    const uint32_t known = rows_[size_t{state} * classes_ + program_->byte_class(byte)];
    return known != kUnknown ? known : step(state, program_->byte_class(byte));
  }
  /// Whether the text so far is a match.
  bool accepts(StateId state) const { return states_[state].accepts; }
  /// Whether the text so far may have come out of the hole.
  bool escapes(StateId state) const { return states_[state].escapes; }
  /// Whether more may be read (inside the hole's part, for a local state).
  bool goes_on(StateId state) const { return states_[state].places != 0; }

  /// The same state with the part of the stack that all its places share replaced by the hole, and that part. A state
  /// without one (kBottom) is its own local state.
  std::pair<StateId, StackId> localize(StateId state);
  /// The state when the rule on top of this stack has ended.
  StateId resume(StackId stack);

  /// The same state in another automaton of the same program.
  StateId move_to(Automaton& other, StateId state) const;

  size_t bytes() const;
  /// From here on so many places may be looked at; then step() and the others throw Error(invalid_argument). A bound on
  /// time that does not depend on the machine.
  void allow_work(uint64_t places) { work_limit_ = work_ + places; }
  /// Places looked at so far.
  uint64_t work() const { return work_; }

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;

  struct State {
    uint32_t first_place = 0;
    uint32_t places = 0;
    bool accepts = false;
    bool escapes = false;
    StateId local = kUnknown;
    StackId shared = kBottom;
  };
  struct Frame {
    NodeId node = 0;  ///< to return to
    StackId below = kBottom;
    uint32_t depth = 0;
  };

  StateId step(StateId state, uint32_t byte_class);
  StackId push(NodeId node, StackId below);
  void add(Place place) { pending_.push_back(place); }
  StateId close();
  bool visit(Place place);
  void forget_visits();
  void check_limits() const;
  StateId intern(std::vector<Place>& places, bool accepts, bool escapes);
  StackId rebase(StackId stack, StackId from);

  std::shared_ptr<const Program> program_;
  uint32_t classes_;
  StateId start_ = kDeadState;
  std::vector<State> states_;
  std::vector<Place> places_;
  std::vector<uint32_t> rows_;  // [state, class]
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, StackId> frame_ids_;
  std::unordered_multimap<uint64_t, StateId> state_ids_;  // by hash
  std::unordered_map<StackId, StateId> resumed_;
  uint64_t work_ = 0;
  uint64_t work_limit_ = UINT64_MAX;

  // Scratch of close().
  std::vector<Place> pending_;
  std::vector<Place> kept_;
  std::vector<uint64_t> visited_;  // open addressing; 0: empty
  size_t visited_count_ = 0;
};

}  // namespace bamba
