#include "constraint/automaton.h"

#include <algorithm>
#include "base/str.h"

namespace bamba {
namespace {

/// A state of more places comes of a grammar that means too many things at once.
constexpr size_t kMaxPlaces = 50000;
/// Of tables made in one go; the owner starts afresh long before.
constexpr size_t kMaxBytes = size_t{192} << 20;

uint64_t place_key(Place place) {
  return uint64_t{place.node} << 32 | place.stack;
}

uint64_t mix(uint64_t value) {
  value ^= value >> 33;
  value *= 0xFF51AFD7ED558CCDU;
  value ^= value >> 33;
  value *= 0xC4CEB9FE1A85EC53U;
  return value ^ value >> 33;
}

}  // namespace

Automaton::Automaton(std::shared_ptr<const Program> program)
    : program_(std::move(program)), classes_(program_->class_count()), frames_(2), visited_(64, 0) {
  states_.emplace_back();  // dead
  rows_.resize(classes_, kDeadState);
  states_[kDeadState].local = kDeadState;
  add({program_->start(0), kBottom});
  start_ = close();
}

StackId Automaton::push(NodeId node, StackId below) {
  const auto [place, is_new] = frame_ids_.try_emplace(uint64_t{node} << 32 | below, 0);
  if (is_new) {
    place->second = static_cast<StackId>(frames_.size());
    frames_.push_back({node, below, frames_[below].depth + 1});
  }
  return place->second;
}

bool Automaton::visit(Place place) {
  if (2 * (visited_count_ + 1) > visited_.size()) {
    std::vector<uint64_t> larger(2 * visited_.size(), 0);
    for (const uint64_t key : visited_) {
      if (key == 0) continue;
      size_t at = mix(key) & (larger.size() - 1);
      while (larger[at] != 0) at = (at + 1) & (larger.size() - 1);
      larger[at] = key;
    }
    visited_ = std::move(larger);
  }
  const uint64_t key = place_key(place) + 1;
  size_t at = mix(key) & (visited_.size() - 1);
  while (visited_[at] != 0) {
    if (visited_[at] == key) return false;
    at = (at + 1) & (visited_.size() - 1);
  }
  visited_[at] = key;
  ++visited_count_;
  return true;
}

/// Follows from the pending places all that reads nothing; what is left stands before bytes.
StateId Automaton::close() {
  bool accepts = false;
  bool escapes = false;
  kept_.clear();
  while (!pending_.empty()) {
    const Place place = pending_.back();
    pending_.pop_back();
    const Node& node = program_->node(place.node);
    if (!node.alive) continue;
    if (node.kind == NodeKind::bytes) {
      if (visit(place)) kept_.push_back(place);
    } else if (visit(place)) {
      switch (node.kind) {
        case NodeKind::split:
          for (const Edge& edge : program_->edges(node)) add({edge.target, place.stack});
          break;
        case NodeKind::call:
          // A call that is the last thing a rule does returns to the rule's own caller: lists do not pile up.
          add({program_->start(node.rule),
               program_->node(node.next).only_end ? place.stack : push(node.next, place.stack)});
          break;
        case NodeKind::end:
          if (place.stack == kBottom) {
            accepts = true;
          } else if (place.stack == kHole) {
            escapes = true;
          } else {
            add({frames_[place.stack].node, frames_[place.stack].below});
          }
          break;
        case NodeKind::bytes:
          break;
      }
    }
    if (visited_count_ > kMaxPlaces) {
      pending_.clear();
      forget_visits();
      fail(ErrorCode::invalid_argument, "the constraint is too ambiguous: a text can be read in more than ", kMaxPlaces,
           " ways at once");
    }
  }
  work_ += visited_count_ + 1;
  forget_visits();
  check_limits();
  return intern(kept_, accepts, escapes);
}

void Automaton::forget_visits() {
  if (visited_.size() > 4096) {  // one large state must not make the clearing slow for all that follow
    visited_.resize(64);
    visited_.shrink_to_fit();
  }
  std::fill(visited_.begin(), visited_.end(), 0);
  visited_count_ = 0;
}

void Automaton::check_limits() const {
  const size_t tables = rows_.size() * sizeof(uint32_t) + places_.size() * sizeof(Place);
  if (work_ <= work_limit_ && tables <= kMaxBytes) return;
  fail(ErrorCode::invalid_argument,
       "the constraint is too complex: finding the tokens that may come next takes too much ",
       work_ > work_limit_ ? "time" : "memory", "; fewer or shorter repetitions and alternatives make it simpler");
}

StateId Automaton::intern(std::vector<Place>& places, bool accepts, bool escapes) {
  if (places.empty() && !accepts && !escapes) return kDeadState;
  std::sort(places.begin(), places.end());
  uint64_t hash = mix(uint64_t{accepts} << 1 | uint64_t{escapes});
  for (const Place place : places) hash = mix(hash ^ place_key(place)) + place_key(place);
  const auto [first, last] = state_ids_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    const State& state = states_[it->second];
    if (state.accepts == accepts && state.escapes == escapes && state.places == places.size() &&
        std::equal(places.begin(), places.end(), places_.begin() + state.first_place)) {
      return it->second;
    }
  }
  const auto id = static_cast<StateId>(states_.size());
  State& state = states_.emplace_back();
  state.first_place = static_cast<uint32_t>(places_.size());
  state.places = static_cast<uint32_t>(places.size());
  state.accepts = accepts;
  state.escapes = escapes;
  places_.insert(places_.end(), places.begin(), places.end());
  rows_.resize(rows_.size() + classes_, kUnknown);
  state_ids_.emplace(hash, id);
  return id;
}

StateId Automaton::step(StateId state, uint32_t byte_class) {
  const uint8_t byte = program_->class_example(byte_class);
  const State from = states_[state];
  work_ += from.places;
  for (uint32_t i = 0; i < from.places; ++i) {
    const Place place = places_[from.first_place + i];
    for (const Edge& edge : program_->edges(program_->node(place.node))) {
      if (byte >= edge.low && byte <= edge.high) add({edge.target, place.stack});
    }
  }
  const StateId to = close();
  rows_[size_t{state} * classes_ + byte_class] = to;
  return to;
}

/// `stack` with its lower part `from` replaced by the hole.
StackId Automaton::rebase(StackId stack, StackId from) {
  std::vector<NodeId> above;
  for (; stack != from; stack = frames_[stack].below) above.push_back(frames_[stack].node);
  StackId out = kHole;
  for (size_t i = above.size(); i-- > 0;) out = push(above[i], out);
  return out;
}

std::pair<StateId, StackId> Automaton::localize(StateId state) {
  if (states_[state].local != kUnknown) return {states_[state].local, states_[state].shared};
  const State from = states_[state];
  // The deepest stack that is below all places.
  StackId shared = from.accepts || from.escapes || from.places == 0 ? kBottom : places_[from.first_place].stack;
  for (uint32_t i = 1; i < from.places && shared > kHole; ++i) {
    StackId other = places_[from.first_place + i].stack;
    while (shared != other) {
      StackId& deeper = frames_[shared].depth >= frames_[other].depth ? shared : other;
      if (frames_[deeper].depth == 0) break;  // bottom or hole: one of the two ends here
      deeper = frames_[deeper].below;
    }
  }
  StateId local = state;
  if (shared > kHole) {
    std::vector<Place> places(places_.begin() + from.first_place, places_.begin() + from.first_place + from.places);
    for (Place& place : places) place.stack = rebase(place.stack, shared);
    work_ += places.size();
    local = intern(places, false, false);
  } else {
    shared = kBottom;
  }
  states_[state].local = local;
  states_[state].shared = shared;
  return {local, shared};
}

StateId Automaton::resume(StackId stack) {
  const auto known = resumed_.find(stack);
  if (known != resumed_.end()) return known->second;
  add({frames_[stack].node, frames_[stack].below});
  const StateId state = close();
  resumed_.emplace(stack, state);
  return state;
}

StateId Automaton::move_to(Automaton& other, StateId state) const {
  const State& from = states_[state];
  std::vector<Place> places(places_.begin() + from.first_place, places_.begin() + from.first_place + from.places);
  std::vector<NodeId> nodes;
  for (Place& place : places) {
    nodes.clear();
    for (StackId stack = place.stack; stack > kHole; stack = frames_[stack].below) nodes.push_back(frames_[stack].node);
    StackId moved = kBottom;
    for (size_t i = nodes.size(); i-- > 0;) moved = other.push(nodes[i], moved);
    place.stack = moved;
  }
  return other.intern(places, from.accepts, from.escapes);
}

size_t Automaton::bytes() const {
  // The hash tables' nodes are estimated.
  return rows_.size() * sizeof(uint32_t) + states_.size() * (sizeof(State) + 40) + places_.size() * sizeof(Place) +
         frames_.size() * (sizeof(Frame) + 40) + resumed_.size() * 40;
}

}  // namespace bamba
