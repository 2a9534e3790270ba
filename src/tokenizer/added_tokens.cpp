#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/utf8.h"

namespace bamba {
namespace {

size_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), nodes_(1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    uint32_t node = 0;
    for (const char c : tokens_[i].content) {
      const auto [edge, fresh] =
          edges_.try_emplace(uint64_t{node} << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(nodes_.size()));
      if (fresh) nodes_.emplace_back();
      node = edge->second;
    }
    nodes_[node].token = static_cast<int32_t>(i);
    starts_[static_cast<unsigned char>(tokens_[i].content[0])] = true;
    if (tokens_[i].single_word && !word_) word_.emplace(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])");
  }
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text, size_t at) const {
  const AddedToken* best = nullptr;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[at]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (nodes_[node].token >= 0) best = &tokens_[static_cast<size_t>(nodes_[node].token)];
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view whole, size_t begin, size_t end, RegexScratch& scratch,
                              std::vector<TextSection>& out) const {
  const std::string_view text = whole.substr(begin, end - begin);
  const auto is_word = [&](size_t at) {
    Regex::Match match{};
    const std::string_view one = text.substr(at, utf8_length(text[at]));
    return word_->find(one, 0, scratch, match);
  };
  size_t done = 0;
  size_t blank_end = 0;
  const auto push = [&](size_t from, size_t to, std::optional<uint32_t> id) {
    out.push_back({begin + from, begin + to, id});
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = starts_[static_cast<unsigned char>(text[at])] ? longest_at(text, at) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    size_t start = at;
    size_t stop = at + token->content.size();
    at = stop;
    if (token->single_word) {
      const bool free_left = start == 0 || !is_word(last_character(text.substr(0, start)));
      const bool free_right = stop == text.size() || !is_word(stop);
      if (!free_left || !free_right) continue;
    }
    if (token->lstrip) {
      while (start > done) {
        const size_t previous = last_character(text.substr(0, start));
        if (previous < done || !is_unicode_space(utf8_step(text, previous).code)) break;
        start = previous;
      }
      start = std::max(start, done);
      if (start >= stop) continue;
    }
    if (token->rstrip) {
      // A run of white space is walked once, however many tokens made of white space stand in it.
      if (stop >= blank_end) {
        for (blank_end = stop; blank_end < text.size();) {
          const Utf8Step step = utf8_step(text, blank_end);
          if (!is_unicode_space(step.code)) break;
          blank_end += step.length;
        }
      }
      stop = blank_end;
    }
    if (done < start) push(done, start, std::nullopt);
    push(start, stop, token->id);
    done = stop;  // white space that rstrip took counts again for a token found in it, as in Hugging Face's tokenizers
  }
  if (done < text.size()) push(done, text.size(), std::nullopt);
}

}  // namespace bamba
