// The tokens of a step: chosen from all of its rows of logits at once, on the model's threads.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "generation/chooser.h"
#include "generation/step_model.h"

namespace bamba {

/// Each row is chosen from by itself, so a choice is the same whatever its company and the number of threads. What
/// fails is an error of its own row's choice. Callers' processors and constraints are called on the calling thread, one
/// after the other, in the order of the rows.
class RowChooser {
 public:
  /// Forgets the last step.
  void start();
  /// A row, and the sequences whose next tokens it gives: they share all tokens so far. All must stay where they are
  /// until choose() returns, and rows must not overlap. Returns the place of the first one's choice.
  size_t add(Chooser& chooser, std::span<const Sequence> sequences, std::span<float> row);
  /// A choice that the model made. Returns its place.
  size_t add(Choice choice);
  /// Makes the choices of all rows added.
  void choose(StepModel& model);

  Choice& choice(size_t place) { return choices_[place]; }

 private:
  struct Row {
    Chooser* chooser;
    std::span<const Sequence> sequences;
    std::span<float> logits;
    size_t place;
  };
  template <typename Part>
  void attempt(const Row& row, const Part& part);
  void finish(const Row& row, ChoiceMemory& memory);

  std::vector<Row> rows_;
  std::vector<size_t> with_callers_;  ///< of rows_
  std::vector<Choice> choices_;
  std::vector<ChoiceMemory> memories_;  ///< one a thread
};

}  // namespace bamba
