// The backend's products with linear weights.
#pragma once

#include <span>

#include "backend/cuda/cuda_context.h"
#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

/// The most scratch memory that weights are unpacked into.
constexpr size_t kUnpackedBytes = size_t{128} << 20;

/// What becomes of products besides: see SkinnyArguments and SkinnyList.
struct ProductEnds {
  SkinnyOutputNorm norm;
  SkinnyConv conv;
  FixedRows fixed_out;
  bool gated = false;
  Activation activation = Activation::silu;
};

/// Rows in fixed point, which have `scales`: both halves lie in the memory of `rows`, a row's low bytes behind its high
/// ones.
FixedRows fixed_rows(const ProductInput& in);

class LinearProducts {
 public:
  LinearProducts(CudaContext& context, bool bit_exact) : context_(context), bit_exact_(bit_exact) {}

  /// Backend::linear_from.
  void linear(const ProductInput& in, std::span<const LinearOp> ops);
  /// Backend::complete.
  Matrix complete(const ProductInput& in);

  /// Whether norms, convolutions and gates may be part of products.
  bool joins(Element element, int64_t rows) const;
  /// Whether they can be for all of these products, which is up to joined() then.
  bool can_join(const ProductInput& in, std::span<const LinearOp> ops) const;
  void joined(const ProductInput& in, std::span<const LinearOp> ops, const ProductEnds& ends);

 private:
  /// Whether decoding's kernels multiply matrices of this element and number of rows.
  bool takes_few(Element element, int64_t rows) const;
  /// Rows [first, first + in.rows) of all outs; ops that can share a launch do.
  void few_rows(const ProductInput& in, std::span<const LinearOp> ops, int64_t first, const ProductEnds& ends);
  void many_rows(Matrix in, const LinearOp& op);
  /// Outputs [first, first + count) of a product, whose weights stand at `codes`.
  void gemm(Matrix in, const LinearOp& op, const void* codes, int64_t stride, int64_t first, int64_t count);
  /// The product's rows [first, first + in.rows).
  void fill(SkinnyArguments& few, const ProductInput& in, const LinearOp& op, int64_t first) const;

  CudaContext& context_;
  bool bit_exact_;
};

}  // namespace bamba::backend::cuda
