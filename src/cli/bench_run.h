// What bamba bench measures: prompts read, then tokens decoded, over and over.
#pragma once

#include <bamba/model.h>
#include <bamba/profile.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace bamba::cli {

struct BenchWork {
  int64_t context = 0;  ///< tokens in each sequence's state before the prompt
  int64_t prompt = 512;
  int64_t gen = 64;
  int64_t batch = 1;
};

/// One phase of the work, summed over runs.
struct BenchPhase {
  std::vector<double> seconds;               ///< of each run
  std::vector<OperationProfile> operations;  ///< with a profile: of all runs

  void add(double run_seconds, const std::vector<OperationProfile>& run_operations);
};

/// `batch` random prompts, then `gen` greedy tokens of each.
class BenchRun {
 public:
  /// profile: the model's, or null. Reads the context already.
  BenchRun(const BambaForCausalLM& model, const BenchWork& work, std::shared_ptr<Profile> profile);

  /// Runs once. prompt(): to the first token of all sequences; decode(): `gen` further tokens of each.
  void measure();
  /// Forgets what was measured; what the warming-up run is for.
  void clear();

  const BenchPhase& prompt() const { return prompt_; }
  const BenchPhase& decode() const { return decode_; }
  size_t state_bytes() const { return state_bytes_; }  ///< of one sequence at the end of a run

 private:
  std::vector<int64_t> random_ids(int64_t count);
  void read_context();
  std::vector<SequenceState> fresh_states() const;
  void step();
  std::vector<OperationProfile> take_profile() const;

  const BambaForCausalLM& model_;
  BenchWork work_;
  std::shared_ptr<Profile> profile_;
  uint64_t drawn_ = 0;
  std::vector<std::vector<int64_t>> prompts_;
  std::vector<SequenceState> contexts_;  ///< one token short of the context; empty without one
  std::vector<int64_t> last_ids_;        ///< the context's last token
  std::vector<SequenceInput> inputs_;
  std::vector<int64_t> next_;
  RaggedOutput output_;
  size_t state_bytes_ = 0;
  BenchPhase prompt_, decode_;
};

}  // namespace bamba::cli
