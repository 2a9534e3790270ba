// Safetensors files put together by hand, right or wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bamba::test {

/// The file's bytes: the header's length (or a lie about it), the header as it is, the data.
inline std::string raw_safetensors(std::string_view header, std::string_view data, uint64_t claimed_length) {
  std::string out;
  for (size_t i = 0; i < 8; ++i) out.push_back(static_cast<char>(claimed_length >> (8 * i) & 0xFFU));
  return out.append(header).append(data);
}
inline std::string raw_safetensors(std::string_view header, std::string_view data) {
  return raw_safetensors(header, data, header.size());
}

}  // namespace bamba::test
