// Random numbers that depend on what they are for, never on the order in which they are asked for.
#pragma once

#include <array>
#include <cstdint>

namespace bamba {

/// Philox 4x32, 10 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a
/// bijection of the counter for each key, so every (key, counter) has its own number and no state is kept.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// A number in [0, 1) with 53 random bits for one draw: of one prompt, one of its sequences, one step. (All four are
/// taken modulo 2^32.)
constexpr double uniform_draw(uint64_t seed, int64_t prompt, int64_t sequence, int64_t step, int64_t draw = 0) {
  const auto bits = philox4x32({static_cast<uint32_t>(step), static_cast<uint32_t>(draw),
                                static_cast<uint32_t>(sequence), static_cast<uint32_t>(prompt)},
                               {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t wide = uint64_t{bits[0]} << 32 | bits[1];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

}  // namespace bamba
