// FNV-1a, for fingerprints and seeds that must be the same on every machine and in every build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bamba {

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo) of everything added. It is no guard against people who want collisions.
class Fnv1a {
 public:
  void add(const void* data, size_t bytes) {
    const auto* cursor = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < bytes; ++i) value_ = (value_ ^ cursor[i]) * 0x100000001B3U;
  }
  void add(std::string_view text) { add(text.data(), text.size()); }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xCBF29CE484222325U;
};

}  // namespace bamba
