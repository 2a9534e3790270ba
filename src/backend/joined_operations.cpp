// Operations in a row, on devices that have no kernels for them together.
#include "backend/backend.h"

namespace bamba::backend {

ProductInput Backend::linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps,
                                      Matrix normed, const LinearWeight*) {
  linear_from(in, {&op, 1});
  rms_norm(op.out, weight, eps, normed);
  return {normed};
}

void Backend::linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column, const ConvOp& conv) {
  linear_from(in, {&op, 1});
  causal_conv(op.out.columns(first_column, conv.shape.channels), conv.sequences, conv.windows, conv.weight, conv.bias,
              conv.shape, conv.activation, conv.out);
}

ProductInput Backend::scan_gated_rms_norm(const ScanOp& scan, Matrix gate, const float* weight, float eps,
                                          const LinearWeight*) {
  selective_scan(scan.xbc, scan.dt, scan.sequences, scan.states, scan.a, scan.d, scan.dt_bias, scan.shape, scan.form,
                 scan.out);
  gated_rms_norm(scan.out, gate, weight, eps, 1);
  return {scan.out};
}

ProductInput Backend::gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up,
                                   Activation activation, const LinearWeight*) {
  const LinearOp ops[] = {gate, up};
  linear_from(in, ops);
  gated_activation(gate.out, up.out, activation);
  return {gate.out};
}

}  // namespace bamba::backend
