// Products of many rows through cuBLASLt.
//
//   out[r, o] = sum_k in[r, k] * weight[o, k]  (+ bias[o])  (+ out[r, o] when accumulating)
//
// f32 is true FP32 (no TF32); bf16 and fp8 run on tensor cores with f32 accumulation. Every call of the same shapes on
// the same GPU and library gives the same bits: algorithms that split the inputs among blocks are excluded. Different
// numbers of rows may get different algorithms, hence different roundings; GemmOptions::plan_rows takes the choice away
// from the number of rows, after which each row's sum is formed in the same way in all calls.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

enum class GemmType { f32, bf16, fp8 };  ///< of activations and weight alike

struct GemmArguments {
  GemmType type = GemmType::bf16;
  const void* in = nullptr;  ///< [rows, inputs]
  int64_t in_stride = 0;     ///< elements
  int64_t rows = 0;
  const void* weight = nullptr;  ///< [outputs, inputs]
  int64_t weight_stride = 0;     ///< elements
  int64_t outputs = 0;
  int64_t inputs = 0;
  void* out = nullptr;  ///< [rows, outputs]; must not overlap in
  Element out_element = Element::bf16;
  int64_t out_stride = 0;       ///< elements
  const float* bias = nullptr;  ///< [outputs], or null. Costs a pass of its own over out, rounded after the product is.
  bool accumulate = false;
  /// fp8 only; device memory. One number each, or, with vector_scales, [rows] and [outputs].
  const float* in_scales = nullptr;
  const float* weight_scales = nullptr;
  bool vector_scales = false;
};

struct GemmOptions {
  /// 0: the library chooses an algorithm for each number of rows. Otherwise it chooses one for this many rows, which
  /// then serves all numbers of rows (where it can; where not, the library chooses again).
  int64_t plan_rows = 0;
};

/// One stream's products at a time: the workspace is shared by its calls. Calls can be captured in a graph: they
/// allocate nothing on the device and wait for nothing. A shape's first call asks for an algorithm (host work).
class CublasGemm {
 public:
  /// A workspace of this size lets the library choose freely on Hopper.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  /// workspace: device memory, aligned to 256, that outlives the object. Throws Error(internal).
  CublasGemm(void* workspace, size_t workspace_bytes, GemmOptions options = {});
  ~CublasGemm();
  CublasGemm(const CublasGemm&) = delete;
  CublasGemm& operator=(const CublasGemm&) = delete;

  /// Throws Error(unsupported) where the library has no algorithm: fp8 needs inputs, outputs and strides in multiples
  /// of 16 and addresses aligned to 16. Alignment costs speed only, elsewhere.
  void run(cudaStream_t stream, const GemmArguments& arguments);
  /// Whether run() has an algorithm. Host work only.
  bool supports(const GemmArguments& arguments);
  /// Shapes seen so far.
  size_t plans() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bamba::backend::cuda
