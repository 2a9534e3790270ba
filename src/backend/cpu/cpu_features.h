// Instructions that Highway's targets do not tell apart.
#pragma once

namespace bamba::backend::cpu {

struct CpuFeatures {
  bool avx_vnni = false;     ///< vpdpbusd on 256-bit registers, VEX-coded
  bool avx512_vnni = false;  ///< vpdpbusd on 512-bit registers
  bool avx512_vbmi = false;  ///< vpermb
  bool avx512_bf16 = false;  ///< vdpbf16ps
  bool amx_int8 = false;     ///< tdpbssd, and the operating system saves the tiles
  bool amx_bf16 = false;     ///< tdpbf16ps, likewise
};

/// What this machine has; asked once.
const CpuFeatures& cpu_features();

}  // namespace bamba::backend::cpu
