// The backend's products with linear weights.
#pragma once

#include <span>

#include "backend/cuda/cuda_context.h"

namespace bamba::backend::cuda {

/// The most scratch memory that weights are unpacked into.
constexpr size_t kUnpackedBytes = size_t{128} << 20;

class LinearProducts {
 public:
  LinearProducts(CudaContext& context, bool bit_exact) : context_(context), bit_exact_(bit_exact) {}

  /// Backend::linear.
  void linear(Matrix in, std::span<const LinearOp> ops);

 private:
  /// Rows [first, first + in.rows) of all outs; ops that can share a launch do.
  void few_rows(Matrix in, std::span<const LinearOp> ops, int64_t first);
  void many_rows(Matrix in, const LinearOp& op);
  /// Outputs [first, first + count) of a product, whose weights stand at `codes`.
  void gemm(Matrix in, const LinearOp& op, const void* codes, int64_t stride, int64_t first, int64_t count);

  CudaContext& context_;
  bool bit_exact_;
};

}  // namespace bamba::backend::cuda
