// Choosing tokens on the device, with the semantics of generation/warpers.h and generation/sampler.h: temperature,
// top-k, top-p, min-p in this order, then the token at a counter-based random number, candidates in the order of ids.
//
// The same number as on the CPU picks the same token, up to rounding: weights are exponentials in f32 added in f64
// here. A row's token depends on its own logits and settings only, and is the same in every run.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// How one row's token is chosen; in device memory, so that a captured launch can be replayed.
struct SamplingRow {
  double uniform = 0;     ///< in [0, 1): what generation/random.h draws
  double top_p = 1;       ///< 1: off
  float temperature = 1;  ///< 0: the best token, nothing is drawn
  int32_t top_k = 0;      ///< 0: off
  float min_p = -1;       ///< negative: off
  float padding = 0;      ///< so that equal settings are equal bytes
};

template <typename Element>
struct SamplingArguments {
  const Element* logits;  ///< rows [vocab], at least one above -infinity; NaN counts as -infinity
  int64_t stride;
  int64_t rows;
  int64_t vocab;
  /// Device, [rows]; null: the best token of every row, of equals the one with the lowest id.
  const SamplingRow* settings;
  int32_t* ids;        ///< [rows], memory that the GPU can write to
  float* logprobs;     ///< device, [rows]: log softmax of the logits as they came, at the id; or null
  bool report_broken;  ///< the id of a row whose logits are not all finite is -1 - that of the first that is not
};

/// Element: float or __nv_bfloat16. No allocation, no waiting, no workspace.
template <typename Element>
void sample(cudaStream_t stream, const SamplingArguments<Element>& arguments);

}  // namespace bamba::backend::cuda
