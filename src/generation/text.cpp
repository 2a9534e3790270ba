#include "generation/text.h"

#include <algorithm>

namespace bamba {

bool StopMatcher::feed(std::string_view piece, std::string& out) {
  if (stops_.empty()) {
    out += piece;
    return false;
  }
  held_ += piece;
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t after = at + stop.size();
    if (end == std::string::npos || after < end || (after == end && at < begin)) {
      begin = at;
      end = after;
    }
  }
  if (end != std::string::npos) {
    out.append(held_, 0, begin);
    held_.clear();
    return true;
  }
  // The longest end of the text that begins some stop string stays.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > keep; --length) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length))) keep = length;
    }
  }
  out.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

void StopMatcher::finish(std::string& out) {
  out += held_;
  held_.clear();
}

bool StopRules::is_eos(int64_t id) const {
  return std::ranges::count(eos, id) != 0;
}
bool StopRules::is_special(int64_t id) const {
  return std::ranges::count(special, id) != 0;
}

TextStream::TextStream(const TextTools& tools, const StopRules& rules)
    : rules_(&rules), decoder_(tools.new_decoder ? tools.new_decoder() : nullptr), matcher_(rules.strings) {}

bool TextStream::push(int64_t id) {
  piece_.clear();
  if (decoder_ == nullptr) return false;
  if (rules_->is_special(id)) {
    finish();
    return true;
  }
  const bool stopped = matcher_.feed(decoder_->push(id), piece_);
  text_ += piece_;
  return stopped;
}

void TextStream::finish() {
  if (decoder_ == nullptr) return;
  const size_t before = piece_.size();
  // The decoder's last characters may complete a stop string after all: the text is cut there.
  if (!matcher_.feed(decoder_->finish(), piece_)) matcher_.finish(piece_);
  text_.append(piece_, before);
}

}  // namespace bamba
