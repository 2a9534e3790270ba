// A checksum for data that lies on disks: quick, the same however the bytes are cut, no guard against intent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace bamba {

/// Four sums over 64-bit words by turns, each step of which can be undone: a change within one word always shows, wider
/// damage goes unseen once in 2^64.
class Checksum64 {
 public:
  void add(const void* data, size_t bytes) {
    const auto* cursor = static_cast<const unsigned char*>(data);
    total_ += bytes;
    if (filled_ > 0) {
      const size_t taken = bytes < kBlock - filled_ ? bytes : kBlock - filled_;
      if (taken > 0) std::memcpy(rest_.data() + filled_, cursor, taken);
      filled_ += taken;
      cursor += taken;
      bytes -= taken;
      if (filled_ < kBlock) return;
      block(rest_.data());
      filled_ = 0;
    }
    for (; bytes >= kBlock; bytes -= kBlock, cursor += kBlock) block(cursor);
    if (bytes > 0) std::memcpy(rest_.data(), cursor, bytes);
    filled_ = bytes;
  }
  void add(std::string_view text) { add(text.data(), text.size()); }

  uint64_t value() const {
    std::array<unsigned char, kBlock> last{};
    if (filled_ > 0) std::memcpy(last.data(), rest_.data(), filled_);
    Checksum64 end = *this;
    end.block(last.data());
    uint64_t out = kSeed;
    for (const uint64_t sum : end.sums_) out = step(out, sum);
    return step(out, total_);
  }

 private:
  static constexpr size_t kBlock = 32;
  static constexpr uint64_t kSeed = 0xCBF29CE484222325U;

  static uint64_t step(uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * 0x9E3779B97F4A7C15U;
    return sum ^ (sum >> 32);
  }
  void block(const unsigned char* bytes) {
    std::array<uint64_t, 4> words{};
    std::memcpy(words.data(), bytes, kBlock);
    for (size_t i = 0; i < words.size(); ++i) sums_[i] = step(sums_[i], words[i]);
  }

  std::array<uint64_t, 4> sums_ = {kSeed, kSeed + 1, kSeed + 2, kSeed + 3};
  std::array<unsigned char, kBlock> rest_{};
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

}  // namespace bamba
