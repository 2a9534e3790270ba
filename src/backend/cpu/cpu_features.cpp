#include "backend/cpu/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bamba::backend::cpu {
namespace {

#if defined(__x86_64__)
bool bit(unsigned value, int index) {
  return ((value >> index) & 1U) != 0;
}

/// Linux gives a process the large state of the AMX tiles only when it asks (Documentation/arch/x86/xstate.rst).
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILE_DATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures detect() {
  // Intel's manual, volume 2, CPUID: leaf 7, sub-leaves 0 and 1. Whether the system saves the registers is what
  // Highway checks before it chooses AVX2 or AVX-512; the bits here only refine that choice.
  CpuFeatures features;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  features.avx512_vnni = bit(c, 11);
  features.avx512_vbmi = bit(c, 1);
  const bool amx_int8 = bit(d, 24) && bit(d, 25);
  const bool amx_bf16 = bit(d, 24) && bit(d, 22);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    features.avx_vnni = bit(a, 4);
    features.avx512_bf16 = bit(a, 5);
  }
  const bool tiles = (amx_int8 || amx_bf16) && request_tiles();
  features.amx_int8 = amx_int8 && tiles;
  features.amx_bf16 = amx_bf16 && tiles;
  return features;
}
#else
CpuFeatures detect() {
  return {};
}
#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace bamba::backend::cpu
