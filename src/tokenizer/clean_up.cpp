#include "tokenizer/clean_up.h"

namespace bamba {

std::string clean_up_tokenization(std::string text) {
  for (const auto& [from, to] : kCleanUpRules) {
    std::string out;
    size_t done = 0;
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
      out.append(text, done, at - done).append(to);
      done = at + from.size();
    }
    text = out.append(text, done);
  }
  return text;
}

std::string CleanUpStream::run_from(size_t first, std::string text, bool ending) {
  for (size_t rule = first; rule < kCleanUpRules.size(); ++rule) {
    const auto& [from, to] = kCleanUpRules[rule];
    std::string& held = held_[rule];
    std::string out;
    for (const char c : text) {
      held.push_back(c);
      if (held == from) {
        out += to;
        held.clear();
      }
      while (!from.starts_with(held)) {
        out.push_back(held[0]);
        held.erase(0, 1);
      }
    }
    if (ending) {
      out += held;
      held.clear();
    }
    text = std::move(out);
  }
  return text;
}

std::string CleanUpStream::push(std::string_view text) {
  return run_from(0, std::string(text), false);
}

std::string CleanUpStream::finish() {
  return run_from(0, {}, true);
}

}  // namespace bamba
