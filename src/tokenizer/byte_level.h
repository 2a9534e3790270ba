// The byte-level alphabet of GPT-2: every byte has a printable character, so that a vocabulary of byte strings can be
// written as JSON text. Printable Latin-1 bytes stand for themselves; the other 68 are U+0100 onwards, in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bamba {

/// The character that stands for a byte.
uint32_t byte_level_character(unsigned char byte);
/// The bytes that a token's text stands for; empty when a character is not in the alphabet (such a token can only be
/// an added one: no text leads to it).
std::optional<std::string> byte_level_bytes(std::string_view token);

}  // namespace bamba
