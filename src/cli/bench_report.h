// What bamba bench says: speeds, and how near they come to what the machine allows.
#pragma once

#include <bamba/machine.h>
#include <bamba/model.h>
#include <bamba/profile.h>

#include <string>

#include "base/json.h"
#include "cli/bench_run.h"
#include "cli/output.h"

namespace bamba::cli {

/// values: at least one.
double median(std::vector<double> values);

struct BenchReport {
  std::string model;
  std::string device, scan;
  ModelInfo info;                           ///< before the measuring of the roof
  double matrix_flops = 0;                  ///< of the matrix products of all prompts of a run
  Arithmetic arithmetic = Arithmetic::f32;  ///< what these products are made of
  bool on_gpu = false;
  MachineRoof roof;
  int threads = 1;
  BenchWork work;
  int64_t repeat = 1;
  double load_seconds = 0;
  size_t peak_memory_bytes = 0;  ///< of the process, the measuring of the roof not counted
  size_t state_bytes = 0;        ///< of one sequence at the end of a run
  BenchPhase prompt, decode;
  bool profile = false;

  double prompt_seconds() const;  ///< medians of the runs
  double step_seconds() const;
  double prompt_tokens_per_second() const;
  double decode_tokens_per_second() const;
  /// What a decoding step moves at least: weights, and the states and keys and values of all sequences, are read; on a
  /// GPU, which has no cache for them, the states are written as well.
  double step_bytes() const;
  /// Decoded tokens a second if nothing but that reading took time.
  double decode_bound() const;
  double prompt_share_of_peak() const;
};

/// Operations of the matrix products that `batch` prompts need: all layers for each token, the head for the last.
double prompt_matrix_flops(const BambaConfig& config, const BenchWork& work);

Json bench_json(const BenchReport& report);
void print_bench(const BenchReport& report, Output& out);

}  // namespace bamba::cli
