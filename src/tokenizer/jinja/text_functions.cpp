#include "tokenizer/jinja/text_functions.h"

#include <algorithm>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

uint32_t upper_of(uint32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 0xE0 && c <= 0xFE && c != 0xF7) || (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2) ||
      (c >= 0x430 && c <= 0x44F)) {
    return c - 32;
  }
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  return c;
}

uint32_t lower_of(uint32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) ||
      (c >= 0x410 && c <= 0x42F)) {
    return c + 32;
  }
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

template <typename Map>
std::string map_characters(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    utf8_append(out, map(step.code));
    at += step.length;
  }
  return out;
}

/// str.isspace(): White_Space and the four ASCII separators.
bool is_python_space(uint32_t code) {
  return is_unicode_space(code) || (code >= 0x1C && code <= 0x1F);
}

bool is_space(std::string_view character) {
  return is_python_space(utf8_step(character, 0).code);
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(utf8_length(text[at]), text.size() - at);
    result.push_back(text.substr(at, length));
    at += length;
  }
  return result;
}

std::string upper_case(std::string_view text) {
  return map_characters(text, upper_of);
}
std::string lower_case(std::string_view text) {
  return map_characters(text, lower_of);
}

std::string capitalize(std::string_view text, bool words) {
  bool start = true;
  return map_characters(text, [&](uint32_t code) {
    const bool letter = upper_of(code) != code || lower_of(code) != code;
    const uint32_t out = start ? upper_of(code) : lower_of(code);
    start = words && !letter;
    return out;
  });
}

std::string strip(std::string_view text, const Value* set, bool left, bool right) {
  const auto parts = characters(text);
  std::vector<std::string_view> wanted;
  if (set && !set->is_none()) {
    if (!set->is_string()) template_error("strip takes a string, not ", set->type_name());
    wanted = characters(set->string());
  }
  const auto goes = [&](std::string_view c) {
    if (!set || set->is_none()) return is_space(c);
    return std::find(wanted.begin(), wanted.end(), c) != wanted.end();
  };
  size_t begin = 0;
  size_t end = parts.size();
  while (left && begin < end && goes(parts[begin])) ++begin;
  while (right && end > begin && goes(parts[end - 1])) --end;
  if (begin == end) return {};
  const char* first = parts[begin].data();
  return std::string(first, parts[end - 1].data() + parts[end - 1].size());
}

std::string replace_text(Interpreter& interpreter, std::string_view text, std::string_view from, std::string_view to,
                         int64_t count) {
  std::string out;
  const auto put = [&](std::string_view part) {
    interpreter.charge(out.size() + part.size() > (size_t{16} << 20) ? SIZE_MAX : part.size() + 1);
    out += part;
  };
  if (from.empty()) {  // between all characters
    for (const std::string_view c : characters(text)) {
      if (count != 0) put(to);
      if (count > 0) --count;
      put(c);
    }
    if (count != 0) put(to);
    return out;
  }
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos && count != 0; at = text.find(from, done)) {
    put(text.substr(done, at - done));
    put(to);
    done = at + from.size();
    if (count > 0) --count;
  }
  put(text.substr(done));
  return out;
}

List split_text(std::string_view text, const Value* separator, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  if (separator && !separator->is_none()) {
    if (!separator->is_string() || separator->string().empty()) template_error("split needs a non-empty string");
    const std::string_view by = separator->string();
    std::string_view rest = text;
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t at = from_right ? rest.rfind(by) : rest.find(by);
      if (at == std::string_view::npos) break;
      parts.push_back(from_right ? rest.substr(at + by.size()) : rest.substr(0, at));
      rest = from_right ? rest.substr(0, at) : rest.substr(at + by.size());
    }
    parts.push_back(rest);
  } else {
    auto all = characters(text);
    if (from_right) std::reverse(all.begin(), all.end());
    const auto join = [&](size_t begin, size_t end) {
      const std::string_view a = from_right ? all[end - 1] : all[begin];
      const std::string_view b = from_right ? all[begin] : all[end - 1];
      return std::string_view(a.data(), static_cast<size_t>(b.data() + b.size() - a.data()));
    };
    for (size_t i = 0; i < all.size();) {
      while (i < all.size() && is_space(all[i])) ++i;
      if (i == all.size()) break;
      size_t end = i;
      if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
        end = all.size();
        while (end > i && is_space(all[end - 1])) --end;
        parts.push_back(join(i, end));
        break;
      }
      while (end < all.size() && !is_space(all[end])) ++end;
      parts.push_back(join(i, end));
      i = end;
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  List list;
  for (const std::string_view part : parts) list.emplace_back(std::string(part));
  return list;
}

List split_lines(std::string_view text, bool keep_ends) {
  List list;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = std::min(text.find_first_of("\n\r\v\f", begin), text.size());
    size_t next = std::min(end + 1, text.size());
    if (end + 1 < text.size() && text[end] == '\r' && text[end + 1] == '\n') ++next;
    list.emplace_back(std::string(text.substr(begin, (keep_ends ? next : end) - begin)));
    begin = next;
  }
  return list;
}

}  // namespace bamba::jinja
