// Operations of a decoding step that run in one kernel: what follows a product at its end, the gate at the scan's end,
// and norms whose factor the next product applies.
#pragma once

#include <span>

#include "backend/cuda/linear_products.h"
#include "backend/cuda/operation_lists.h"
#include "backend/cuda/scan.h"

namespace bamba::backend::cuda {

/// The functions of Backend of the same names. Results that q8 or q4 weights read are in fixed point, of few rows.
/// Those that return bool return false, having done nothing, where shapes or numbers of rows want the operations one by
/// one. That depends on a model's shapes and on LinearProducts::joins() alone, but for linear_conv(), whose bits are
/// those of causal_conv().
class JoinedOperations {
 public:
  JoinedOperations(CudaContext& context, OperationLists& lists, LinearProducts& products)
      : context_(context), lists_(lists), products_(products) {}

  bool linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps, Matrix normed,
                       const LinearWeight* reader, ProductInput& result);
  bool linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column, const ConvOp& conv);
  bool gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up, Activation activation,
                    const LinearWeight* reader, ProductInput& result);
  /// Whether scan_gated_rms_norm() takes a recurrent scan.
  bool can_gate(const ScanOp& scan) const;
  /// arguments: the scan's, without a gate.
  ProductInput scan_gated_rms_norm(const ScanOp& scan, ScanArguments<__nv_bfloat16> arguments, Matrix gate,
                                   const float* weight, float eps, const LinearWeight* reader);

 private:
  /// Where results in `matrix`'s memory lie if `reader` multiplies fixed point; nowhere if it does not. scales: the
  /// scratch memory for theirs.
  FixedRows fixed(const Matrix& matrix, const LinearWeight* reader, CudaContext::Scratch scales);

  CudaContext& context_;
  OperationLists& lists_;
  LinearProducts& products_;
};

}  // namespace bamba::backend::cuda
