// Products with q8 and q4 weights on AMX, the matrix unit of newer server processors.
#pragma once

#include "backend/cpu/quantized.h"

namespace bamba::backend::cpu {

/// Kernels that take 16 rows at a time to AMX and give what is left to `narrow`, whose activations they share (bytes).
/// The sums of a group are integers and what follows has the same order, so the bits are those of `narrow`. To be
/// called only where cpu_features() has amx_int8 and avx512_vbmi; null where this was compiled for a processor without.
const QuantizedKernels* amx_kernels(const QuantizedKernels& narrow);

}  // namespace bamba::backend::cpu
