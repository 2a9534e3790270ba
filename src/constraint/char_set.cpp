#include "constraint/char_set.h"

#include <algorithm>
#include <string>

#include "tokenizer/utf8.h"

namespace bamba {
namespace {

/// low and high have the same length in UTF-8.
void split_range(uint32_t low, uint32_t high, std::vector<ByteSequence>& out) {
  // The last byte varies fastest: a range whose low end is not at the start of a block (or its high end not at the end)
  // is cut there, until every continuation byte ranges freely or is the same in both ends.
  for (uint32_t bits = 6; bits <= 18; bits += 6) {
    const uint32_t mask = (uint32_t{1} << bits) - 1;
    if ((low & ~mask) == (high & ~mask)) break;
    if ((low & mask) != 0) {
      split_range(low, low | mask, out);
      split_range((low | mask) + 1, high, out);
      return;
    }
    if ((high & mask) != mask) {
      split_range(low, (high & ~mask) - 1, out);
      split_range(high & ~mask, high, out);
      return;
    }
  }
  std::string first;
  std::string last;
  utf8_append(first, low);
  utf8_append(last, high);
  ByteSequence sequence;
  sequence.length = static_cast<uint32_t>(first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    sequence.bytes[i] = {static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i])};
  }
  out.push_back(sequence);
}

}  // namespace

std::vector<CodeRange> CharSet::ranges() const {
  std::vector<CodeRange> sorted = ranges_;
  std::sort(sorted.begin(), sorted.end(), [](const CodeRange& a, const CodeRange& b) { return a.low < b.low; });
  std::vector<CodeRange> out;
  for (const CodeRange& range : sorted) {
    if (!out.empty() && range.low <= out.back().high + 1) {
      out.back().high = std::max(out.back().high, range.high);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CharSet CharSet::complement() const {
  CharSet out;
  uint32_t next = 0;
  for (const CodeRange& range : ranges()) {
    if (range.low > next) out.add(next, range.low - 1);
    next = range.high + 1;
  }
  if (next <= kLastCodePoint) out.add(next, kLastCodePoint);
  return out;
}

CharSet CharSet::intersection(const CharSet& other) const {
  CharSet either = complement();
  either.add(other.complement());
  return either.complement();
}

bool CharSet::contains(uint32_t code) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [code](const CodeRange& range) { return code >= range.low && code <= range.high; });
}

std::vector<ByteSequence> utf8_sequences(const CharSet& set) {
  // Where the length changes, and around the surrogates, which have no UTF-8.
  constexpr CodeRange kBlocks[] = {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}};
  std::vector<ByteSequence> out;
  for (const CodeRange& range : set.ranges()) {
    for (const CodeRange& block : kBlocks) {
      const uint32_t low = std::max(range.low, block.low);
      const uint32_t high = std::min(range.high, block.high);
      if (low <= high) split_range(low, high, out);
    }
  }
  return out;
}

}  // namespace bamba
