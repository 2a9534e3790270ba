#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "base/str.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

// What ByteLevel cuts with when use_regex is on: contractions, letters, numbers, the rest, white space.
constexpr std::string_view kByteLevelRegex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr size_t kMaxSteps = 32;

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, const std::string& origin) {
  if (!json.is_null()) add(json, origin, 0);
  if (!byte_level_) {
    fail(ErrorCode::unsupported, origin, ": the pre_tokenizer has no ByteLevel step; only byte-level BPE is supported");
  }
}

void PreTokenizer::add(const Json& json, const std::string& origin, int depth) {
  const std::string where = origin + ": pre_tokenizer";
  const std::string type = json_string(json, "type", where);
  if (byte_level_) fail(ErrorCode::unsupported, where, " has a ", type, " step after ByteLevel, which must come last");
  if (steps_.size() >= kMaxSteps || depth > 8) {
    fail(ErrorCode::invalid_tokenizer, where, " has more than ", kMaxSteps, " steps");
  }
  if (type == "Sequence") {
    for (const Json& part : json_array(json, "pretokenizers", where)) add(part, origin, depth + 1);
  } else if (type == "Split") {
    add_split(json, where);
  } else if (type == "Digits") {
    const bool individual = json_bool(json, "individual_digits", false, where);
    steps_.push_back({Regex("\\p{N}"), "", individual ? Behavior::isolated : Behavior::contiguous, false, false});
  } else if (type == "ByteLevel") {
    Step step;
    step.add_prefix_space = json_bool(json, "add_prefix_space", true, where);
    if (json_bool(json, "use_regex", true, where)) step.regex.emplace(kByteLevelRegex);
    steps_.push_back(std::move(step));
    byte_level_ = true;
  } else {
    fail(ErrorCode::unsupported, where, " is of type ", type, "; Sequence, Split, Digits and ByteLevel are supported");
  }
}

void PreTokenizer::add_split(const Json& json, const std::string& where) {
  static constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors{
      {{"Removed", Behavior::removed},
       {"Isolated", Behavior::isolated},
       {"MergedWithPrevious", Behavior::merged_with_previous},
       {"MergedWithNext", Behavior::merged_with_next},
       {"Contiguous", Behavior::contiguous}}};
  Step step;
  const std::string name = json_string(json, "behavior", where);
  const auto* found =
      std::find_if(kBehaviors.begin(), kBehaviors.end(), [&](const auto& b) { return b.first == name; });
  if (found == kBehaviors.end()) {
    fail(ErrorCode::invalid_tokenizer, where, ": behavior is \"", name,
         "\"; it must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  }
  step.behavior = found->second;
  step.invert = json_bool(json, "invert", false, where);
  const Json& pattern = json_object(json, "pattern", where);
  if (pattern.contains("Regex")) {
    step.regex.emplace(json_string(pattern, "Regex", where + ".pattern"));
  } else {
    step.literal = json_string(pattern, "String", where + ".pattern");
  }
  steps_.push_back(std::move(step));
}

void PreTokenizer::split(std::string_view section, RegexScratch& scratch, FunctionRef<void(Piece)> emit) const {
  run(0, {section, 0, 0}, scratch, emit);
}

/// Matches and what lies between them, in order, without gaps.
void PreTokenizer::spans(const Step& step, std::string_view text, RegexScratch& scratch, FunctionRef<void(Span)> emit) {
  size_t done = 0;
  const auto found = [&](size_t begin, size_t end) {
    if (done != begin) emit({done, begin, step.invert});
    emit({begin, end, !step.invert});
    done = end;
  };
  if (step.regex) {
    // An empty match right after the last match does not count; the search moves on by a character.
    std::optional<size_t> last;
    Regex::Match match{};
    for (size_t from = 0; from <= text.size() && step.regex->find(text, from, scratch, match);) {
      if (match.begin == match.end && last == match.end) {
        if (match.end >= text.size()) break;
        from = match.end + utf8_length(text[match.end]);
        continue;
      }
      found(match.begin, match.end);
      from = match.end;
      last = match.end;
    }
  } else if (!step.literal.empty()) {
    for (size_t at = text.find(step.literal); at != std::string_view::npos; at = text.find(step.literal, done)) {
      found(at, at + step.literal.size());
    }
  }
  if (done != text.size()) emit({done, text.size(), step.invert});
}

void PreTokenizer::run(size_t index, Piece piece, RegexScratch& scratch, FunctionRef<void(Piece)> emit) const {
  if (piece.text.empty()) return;
  if (index == steps_.size()) {
    emit(piece);
    return;
  }
  const Step& step = steps_[index];
  if (step.add_prefix_space && !piece.text.starts_with(' ')) {
    const std::string prefixed = str(" ", piece.text);  // lives as long as the pieces cut from it are in use
    const auto pass = [&](Span span) {
      run(index + 1,
          {std::string_view(prefixed).substr(span.begin, span.end - span.begin),
           piece.origin - 1 + static_cast<int64_t>(span.begin), piece.origin},
          scratch, emit);
    };
    spans(step, prefixed, scratch, pass);
    return;
  }
  const auto pass = [&](size_t begin, size_t end) {
    run(index + 1, {piece.text.substr(begin, end - begin), piece.origin + static_cast<int64_t>(begin), piece.floor},
        scratch, emit);
  };
  if (step.behavior == Behavior::isolated) {
    spans(step, piece.text, scratch, [&](Span span) { pass(span.begin, span.end); });
    return;
  }
  // The other behaviours join neighbours: hold the piece being built until a span does not belong to it.
  size_t begin = 0;
  size_t end = 0;
  bool held = false;
  bool previous_match = false;
  const auto flush = [&] {
    if (held) pass(begin, end);
    held = false;
  };
  spans(step, piece.text, scratch, [&](Span span) {
    bool joins = false;
    switch (step.behavior) {
      case Behavior::removed:
        if (!span.match) pass(span.begin, span.end);
        return;
      case Behavior::contiguous:
        joins = held && span.match == previous_match;
        break;
      case Behavior::merged_with_previous:
        joins = held && span.match && !previous_match;
        break;
      case Behavior::merged_with_next:
        joins = held && previous_match && !span.match;
        break;
      case Behavior::isolated:
        break;
    }
    if (!joins) {
      flush();
      begin = span.begin;
      held = true;
    }
    end = span.end;
    previous_match = span.match;
  });
  flush();
}

}  // namespace bamba
