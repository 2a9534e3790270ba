// UTF-8, one character at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bamba {

/// What stands at one place of a text. An ill-formed sequence is its maximal subpart (Unicode 15, section 3.9, "U+FFFD
/// substitution of maximal subparts"), which is also how Python and Rust replace bad bytes.
struct Utf8Step {
  uint32_t code = 0xFFFD;
  uint8_t length = 1;      ///< bytes of the character or of the ill-formed sequence
  bool valid = false;      ///< a well-formed character
  bool truncated = false;  ///< ill-formed only because the text ends: more bytes could complete it
};

/// The step at text[at]; at < text.size().
Utf8Step utf8_step(std::string_view text, size_t at);
bool utf8_valid(std::string_view text);
/// The text with every ill-formed sequence replaced by U+FFFD.
std::string utf8_replace_invalid(std::string_view text);
void utf8_append(std::string& out, uint32_t code);
/// Bytes of the character that starts at text[at], in well-formed text.
inline size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}
/// Characters in well-formed text.
size_t utf8_count(std::string_view text);
/// Unicode's White_Space property.
bool is_unicode_space(uint32_t code);

}  // namespace bamba
