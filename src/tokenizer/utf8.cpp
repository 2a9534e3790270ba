#include "tokenizer/utf8.h"

#include <cstring>

namespace bamba {
namespace {

/// Bytes of plain ASCII at the start of text[at...], counted eight at a time.
size_t ascii_run(std::string_view text, size_t at) {
  const size_t begin = at;
  while (at + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    if (word & 0x8080808080808080U) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at - begin;
}

}  // namespace

Utf8Step utf8_step(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at);
  Utf8Step step;
  if (first < 0x80) {
    step.code = first;
    step.valid = true;
    return step;
  }
  if (first < 0xC2 || first > 0xF4) return step;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range shuts out overlong forms, surrogates and code points past U+10FFFF.
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  uint32_t code = first & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) {
      step.length = static_cast<uint8_t>(i);
      step.truncated = true;
      return step;
    }
    if (byte(at + i) < low || byte(at + i) > high) {
      step.length = static_cast<uint8_t>(i);
      return step;
    }
    low = 0x80;
    high = 0xBF;
    code = code << 6 | (byte(at + i) & 0x3FU);
  }
  step.code = code;
  step.length = static_cast<uint8_t>(length);
  step.valid = true;
  return step;
}

bool utf8_valid(std::string_view text) {
  for (size_t at = ascii_run(text, 0); at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (!step.valid) return false;
    at += step.length;
    at += ascii_run(text, at);
  }
  return true;
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t plain = ascii_run(text, at);
    out.append(text.substr(at, plain));
    at += plain;
    if (at == text.size()) break;
    const Utf8Step step = utf8_step(text, at);
    if (step.valid) {
      out.append(text.substr(at, step.length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    at += step.length;
  }
  return out;
}

void utf8_append(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

size_t utf8_count(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

bool is_unicode_space(uint32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

}  // namespace bamba
