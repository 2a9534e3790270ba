// Equality to the last bit, NaN and signed zeros included.
#pragma once

#include <cstring>
#include <span>

namespace bamba::test {

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace bamba::test
