// Numbers as files' metadata and names have them.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>

namespace bamba {

/// Lower case, without leading zeros.
inline std::string hex(uint64_t value) {
  char text[16];
  return {text, std::to_chars(text, text + sizeof(text), value, 16).ptr};
}

}  // namespace bamba
