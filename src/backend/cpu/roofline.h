// What this machine can do at best, measured: the yardsticks of every speed that the program prints.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

/// Bytes a second at which the context's threads read memory that no cache holds: the best of several passes over
/// 512 MiB.
double measure_read_bandwidth(Context& context);
/// Floating-point operations a second (a multiply-add is two) of independent f32 multiply-adds in registers: the best
/// of several runs, with the same instructions that linear() uses.
double measure_fma_peak(Context& context);
/// The same for u8 x s8 dot products with 32-bit sums, by the best instruction that the processor has for them.
double measure_int8_peak(Context& context);

}  // namespace bamba::backend::cpu
