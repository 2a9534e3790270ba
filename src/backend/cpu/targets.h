// Which instruction sets the kernels are compiled for. Include before any Highway header.
#pragma once

// The baseline is x86-64-v2 (SSE4, set in cmake/compiler.cmake); above it AVX2 with FMA and F16C, and AVX-512 (F, BW,
// CD, DQ, VL). Its later extensions add no instruction that these kernels take from Highway and would only make the
// binary larger. On Arm it is NEON: SVE's vectors have no size at compile time, and the kernels keep theirs in arrays.
// Highway counts AES among SSE4's instructions; x86-64-v2 has none and the kernels want none.
#define HWY_DISABLE_PCLMUL_AES
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS                                                                                           \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2 | HWY_NEON_BF16 | HWY_SVE_256 | HWY_SVE2_128 | \
   HWY_SVE | HWY_SVE2)
#endif

#include <hwy/detect_targets.h>

// Names that came after Highway 1.0.3. To the preprocessor, unknown ones are 0 already.
#ifndef HWY_AVX3_ZEN4
#define HWY_AVX3_ZEN4 0
#endif
#ifndef HWY_AVX3_SPR
#define HWY_AVX3_SPR 0
#endif
#ifndef HWY_AVX10_2
#define HWY_AVX10_2 0
#endif
#ifndef HWY_NEON_BF16
#define HWY_NEON_BF16 0
#endif
