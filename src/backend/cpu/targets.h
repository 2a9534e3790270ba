// Which instruction sets the kernels are compiled for. Include before any Highway header.
#pragma once

// The baseline is x86-64-v2 (SSE4, set in cmake/compiler.cmake); above it AVX2 with FMA and F16C, and AVX-512 (F, BW,
// CD, DQ, VL). AVX3_DL adds no instruction that these kernels use and would only make the binary larger. On Arm it is
// NEON: SVE's vectors have no size at compile time, and the kernels keep theirs in arrays.
// Highway counts AES among SSE4's instructions; x86-64-v2 has none and the kernels want none.
#define HWY_DISABLE_PCLMUL_AES
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
