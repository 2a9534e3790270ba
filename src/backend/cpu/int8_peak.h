// The processor's best instruction for dot products of 8-bit integers, in chains that measure what it reaches.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace bamba::backend::cpu {

struct Int8Peak {
  std::string_view instruction;  ///< "AVX-512 VNNI", "AVX-VNNI", "AVX-512", "AVX2", "SSSE3", "plain"
  bool (*available)();
  void (*run)(int64_t rounds);  ///< `rounds` rounds, at least one, of independent chains
  int64_t ops_per_round;        ///< a multiply-add is two
};

/// All that this build knows, best first; the last one runs anywhere.
std::span<const Int8Peak> int8_peaks();
/// The first that this processor has. Highway's targets do not matter here: a yardstick does not move with the kernels
/// that are held against it.
const Int8Peak& best_int8_peak();

}  // namespace bamba::backend::cpu
