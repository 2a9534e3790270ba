// Sets of Unicode characters, and the UTF-8 byte ranges that spell them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bamba {

constexpr uint32_t kLastCodePoint = 0x10FFFF;

struct CodeRange {
  uint32_t low = 0;
  uint32_t high = 0;  ///< inclusive
};

/// A set of code points. Surrogates may be added; they are left out where bytes are made of the set.
class CharSet {
 public:
  CharSet() = default;
  CharSet(uint32_t low, uint32_t high) { add(low, high); }

  void add(uint32_t low, uint32_t high) { ranges_.push_back({low, high}); }
  void add(uint32_t code) { add(code, code); }
  void add(const CharSet& other) { ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end()); }

  /// Sorted, without overlap, neighbours joined.
  std::vector<CodeRange> ranges() const;
  CharSet complement() const;
  CharSet intersection(const CharSet& other) const;
  bool contains(uint32_t code) const;

 private:
  std::vector<CodeRange> ranges_;  // as they were added
};

/// One byte range for each byte of a character.
struct ByteSequence {
  struct Range {
    uint8_t low = 0;
    uint8_t high = 0;
  };
  std::array<Range, 4> bytes;
  uint32_t length = 0;
};

/// The UTF-8 of the set as sequences of byte ranges: any choice of one byte from each range is a character of the set.
std::vector<ByteSequence> utf8_sequences(const CharSet& set);

}  // namespace bamba
