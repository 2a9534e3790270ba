#include "backend/cpu/int8_peak.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace bamba::backend::cpu {
namespace {

bool always() {
  return true;
}

constexpr int64_t kPlainBytes = 64;

/// What the compiler makes of a loop for the baseline, or for another architecture.
void plain_chain(int64_t rounds) {
  uint8_t a[kPlainBytes];
  int8_t b[kPlainBytes];
  std::fill_n(a, kPlainBytes, uint8_t{3});
  std::fill_n(b, kPlainBytes, int8_t{-2});
  uint32_t sum = 0;  // may wrap
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : : "r"(a), "r"(b) : "memory");  // as if a and b were new in each round
    for (int64_t k = 0; k < kPlainBytes; ++k) sum += static_cast<uint32_t>(a[k] * b[k]);
  }
  asm volatile("" : : "r"(sum));  // somebody wants it
}

#if defined(__x86_64__)

bool has_avx512() {
  return __builtin_cpu_supports("avx512bw") != 0;
}
bool has_avx512_vnni() {
  return has_avx512() && __builtin_cpu_supports("avx512vnni") != 0;
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}
bool has_avx_vnni() {  // a name that not all compilers know
  constexpr unsigned kLeaf = 7;
  constexpr unsigned kSubleaf = 1;
  constexpr unsigned kAvxVnni = 1U << 4;  // of EAX
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return has_avx2() && __get_cpuid_count(kLeaf, kSubleaf, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvxVnni) != 0;
}
bool has_ssse3() {
  return __builtin_cpu_supports("ssse3") != 0;
}

// The loops are written in assembly: compilers that keep some of the chains in memory would be what is measured.
// Registers 0 to n - 1 are the chains: enough to hide a latency of five cycles at two instructions a cycle. What they
// start with does not matter. The last registers hold the operands.

#define BAMBA_CHAINS_8(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)
#define BAMBA_CHAINS_12(step) BAMBA_CHAINS_8(step) step(8) step(9) step(10) step(11)
#define BAMBA_CHAINS_24(step) \
  BAMBA_CHAINS_12(step)       \
  step(12) step(13) step(14) step(15) step(16) step(17) step(18) step(19) step(20) step(21) step(22) step(23)
#define BAMBA_LOOP(body) "1:\n" body "dec %0\n jnz 1b\n"
// Upper halves left in use would slow down all SSE code from here on.
#define BAMBA_AVX_LOOP(body) BAMBA_LOOP(body) "vzeroupper\n"
#define BAMBA_LOW_REGISTERS                                                                                           \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
#define BAMBA_HIGH_REGISTERS                                                                                           \
  "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", \
      "xmm29", "xmm30", "xmm31"

constexpr int64_t kNarrowChains = 8;
constexpr int64_t kVnniChains = 12;
constexpr int64_t kWideChains = 24;

#define BAMBA_STEP(c) "vpdpbusd %%zmm31, %%zmm30, %%zmm" #c "\n"
[[gnu::target("avx512f,avx512bw,avx512vnni")]] void avx512_vnni_chains(int64_t rounds) {
  asm volatile(BAMBA_AVX_LOOP(BAMBA_CHAINS_24(BAMBA_STEP))
               : "+r"(rounds)
               :
               : "cc", BAMBA_LOW_REGISTERS, BAMBA_HIGH_REGISTERS);
}
#undef BAMBA_STEP

#define BAMBA_STEP(c) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #c "\n"
[[gnu::target("avx2,avxvnni")]] void avx_vnni_chains(int64_t rounds) {
  asm volatile(BAMBA_AVX_LOOP(BAMBA_CHAINS_12(BAMBA_STEP)) : "+r"(rounds) : : "cc", BAMBA_LOW_REGISTERS);
}
#undef BAMBA_STEP

// Without VNNI: products of bytes summed in pairs to 16 bits, those in pairs to 32 bits, added.

#define BAMBA_STEP(c)                      \
  "vpmaddubsw %%zmm31, %%zmm30, %%zmm28\n" \
  "vpmaddwd %%zmm29, %%zmm28, %%zmm28\n"   \
  "vpaddd %%zmm28, %%zmm" #c ", %%zmm" #c "\n"
[[gnu::target("avx512f,avx512bw")]] void avx512_chains(int64_t rounds) {
  asm volatile(BAMBA_AVX_LOOP(BAMBA_CHAINS_24(BAMBA_STEP))
               : "+r"(rounds)
               :
               : "cc", BAMBA_LOW_REGISTERS, BAMBA_HIGH_REGISTERS);
}
#undef BAMBA_STEP

#define BAMBA_STEP(c)                      \
  "vpmaddubsw %%ymm15, %%ymm14, %%ymm12\n" \
  "vpmaddwd %%ymm13, %%ymm12, %%ymm12\n"   \
  "vpaddd %%ymm12, %%ymm" #c ", %%ymm" #c "\n"
[[gnu::target("avx2")]] void avx2_chains(int64_t rounds) {
  asm volatile(BAMBA_AVX_LOOP(BAMBA_CHAINS_8(BAMBA_STEP)) : "+r"(rounds) : : "cc", BAMBA_LOW_REGISTERS);
}
#undef BAMBA_STEP

#define BAMBA_STEP(c)            \
  "movdqa %%xmm14, %%xmm12\n"    \
  "pmaddubsw %%xmm15, %%xmm12\n" \
  "pmaddwd %%xmm13, %%xmm12\n"   \
  "paddd %%xmm12, %%xmm" #c "\n"
[[gnu::target("ssse3")]] void ssse3_chains(int64_t rounds) {
  asm volatile(BAMBA_LOOP(BAMBA_CHAINS_8(BAMBA_STEP)) : "+r"(rounds) : : "cc", BAMBA_LOW_REGISTERS);
}
#undef BAMBA_STEP

#endif

/// A multiply-add of each byte of each chain's vector.
constexpr int64_t ops(int64_t bytes, int64_t chains) {
  return 2 * bytes * chains;
}

constexpr Int8Peak kPeaks[] = {
#if defined(__x86_64__)
    {"AVX-512 VNNI", has_avx512_vnni, avx512_vnni_chains, ops(64, kWideChains)},
    {"AVX-VNNI", has_avx_vnni, avx_vnni_chains, ops(32, kVnniChains)},
    {"AVX-512", has_avx512, avx512_chains, ops(64, kWideChains)},
    {"AVX2", has_avx2, avx2_chains, ops(32, kNarrowChains)},
    {"SSSE3", has_ssse3, ssse3_chains, ops(16, kNarrowChains)},
#endif
    {"plain", always, plain_chain, ops(kPlainBytes, 1)},
};

}  // namespace

std::span<const Int8Peak> int8_peaks() {
  return kPeaks;
}

const Int8Peak& best_int8_peak() {
  return *std::find_if(std::begin(kPeaks), std::end(kPeaks), [](const Int8Peak& peak) { return peak.available(); });
}

}  // namespace bamba::backend::cpu
