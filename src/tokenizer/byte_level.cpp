#include "tokenizer/byte_level.h"

#include <array>

#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kAlphabetEnd = 256 + 68;

struct Tables {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};

  Tables() {
    byte.fill(-1);
    uint16_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      character[b] = printable ? static_cast<uint16_t>(b) : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};

const Tables& tables() {
  static const Tables result;
  return result;
}

}  // namespace

uint32_t byte_level_character(unsigned char byte) {
  return tables().character[byte];
}

std::optional<std::string> byte_level_bytes(std::string_view token) {
  const Tables& table = tables();
  std::string out;
  out.reserve(token.size());
  for (size_t at = 0; at < token.size();) {
    const Utf8Step step = utf8_step(token, at);
    if (!step.valid || step.code >= kAlphabetEnd || table.byte[step.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(table.byte[step.code]));
    at += step.length;
  }
  return out;
}

}  // namespace bamba
