// Writing and reading single rows of packed q8 and q4 weights; the layout is told in quantized.h.
#pragma once

#include "backend/cpu/linear.h"
#include "base/function_ref.h"

namespace bamba::backend::cpu {

/// Rounds all rows to nearest (quantize_row) into `weight`. `read_row(row, values)` gives a row's weights in f32.
void quantize_and_pack(Context& context, FunctionRef<void(int64_t, float*)> read_row, CpuLinearWeight& weight);

/// Row `row` of a q8 or q4 weight as f32 [in].
void read_quantized_row(const CpuLinearWeight& weight, int64_t row, float* values);

}  // namespace bamba::backend::cpu
