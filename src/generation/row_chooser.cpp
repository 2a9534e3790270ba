#include "generation/row_chooser.h"

#include <utility>

namespace bamba {

void RowChooser::start() {
  rows_.clear();
  with_callers_.clear();
  choices_.clear();
}

size_t RowChooser::add(Chooser& chooser, std::span<const Sequence> sequences, std::span<float> row) {
  const size_t place = choices_.size();
  choices_.resize(place + sequences.size());
  if (chooser.has_callers()) with_callers_.push_back(rows_.size());
  rows_.push_back({&chooser, sequences, row, place});
  return place;
}

size_t RowChooser::add(Choice choice) {
  choices_.push_back(std::move(choice));
  return choices_.size() - 1;
}

/// Errors are kept for whoever takes the first choice.
template <typename Part>
void RowChooser::attempt(const Row& row, const Part& part) {
  try {
    part();
  } catch (...) {
    choices_[row.place].error = std::current_exception();
  }
}

void RowChooser::finish(const Row& row, ChoiceMemory& memory) {
  row.chooser->choose(row.sequences, row.logits, memory, std::span(choices_).subspan(row.place, row.sequences.size()));
}

void RowChooser::choose(StepModel& model) {
  memories_.resize(static_cast<size_t>(model.threads()));
  model.parallel_for(static_cast<int64_t>(rows_.size()), [&](int64_t task, int thread) {
    const Row& row = rows_[static_cast<size_t>(task)];
    ChoiceMemory& memory = memories_[static_cast<size_t>(thread)];
    attempt(row, [&] {
      row.chooser->prepare(row.sequences[0], row.logits, memory);
      if (!row.chooser->has_callers()) finish(row, memory);
    });
  });
  if (with_callers_.empty()) return;

  for (const size_t index : with_callers_) {
    const Row& row = rows_[index];
    if (choices_[row.place].error) continue;
    attempt(row, [&] { row.chooser->call_callers(row.sequences[0], row.logits); });
  }
  model.parallel_for(static_cast<int64_t>(with_callers_.size()), [&](int64_t task, int thread) {
    const Row& row = rows_[with_callers_[static_cast<size_t>(task)]];
    if (choices_[row.place].error) return;
    attempt(row, [&] { finish(row, memories_[static_cast<size_t>(thread)]); });
  });
}

}  // namespace bamba
