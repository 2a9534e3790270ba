// Operations on whole rows or elements: norms, gated activations, rotary embedding.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

void rms_norm(Context& context, Matrix in, const float* weight, float eps, Matrix out);
void gated_rms_norm(Context& context, Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups);
void gated_activation(Context& context, Matrix gate, Matrix up, Activation activation);
void best_columns(Context& context, Matrix in, std::span<int64_t> columns);
void rotate(Context& context, Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim,
            const float* cos_sin);

}  // namespace bamba::backend::cpu
