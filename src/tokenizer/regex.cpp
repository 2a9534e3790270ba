#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/str.h"
#include "tokenizer/regex_syntax.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
// Steps for one attempt. The small limit is ample for words; a run of one class as long as the text needs the other.
constexpr uint32_t kCheapSteps = 20000;
constexpr uint32_t kExpensiveSteps = 20000000;
constexpr size_t kJitStackBytes = size_t{1} << 20;
constexpr uint32_t kHeapKilobytes = 20 << 10;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using CodePtr = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;

CodePtr compile(const std::string& translated, std::string_view shown, uint32_t more_options) {
  const uint32_t options =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK | more_options;
  const std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  if (!context) fail(ErrorCode::out_of_memory, "no memory to compile a regex");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  size_t where = 0;
  CodePtr code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options, &error,
                             &where, context.get()));
  if (!code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    fail(ErrorCode::invalid_tokenizer, "the regex ", shown, " is not valid: ", reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
  return code;
}

}  // namespace

struct RegexScratch::Buffers {
  std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> match;
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> cheap;
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> expensive;
  std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>> stack;
};

RegexScratch::RegexScratch() : buffers_(std::make_unique<Buffers>()) {
  Buffers& b = *buffers_;
  b.match.reset(pcre2_match_data_create(1, nullptr));  // the whole match is all we look at
  b.cheap.reset(pcre2_match_context_create(nullptr));
  b.expensive.reset(pcre2_match_context_create(nullptr));
  b.stack.reset(pcre2_jit_stack_create(size_t{32} << 10, kJitStackBytes, nullptr));
  if (!b.match || !b.cheap || !b.expensive) fail(ErrorCode::out_of_memory, "no memory to match a regex");
  for (auto* context : {b.cheap.get(), b.expensive.get()}) {
    pcre2_set_match_limit(context, context == b.cheap.get() ? kCheapSteps : kExpensiveSteps);
    pcre2_set_heap_limit(context, kHeapKilobytes);
    if (b.stack) pcre2_jit_stack_assign(context, nullptr, b.stack.get());
  }
}

RegexScratch::~RegexScratch() = default;

void RegexScratch::start_text(size_t bytes) {
  expensive_left_ = 16 + static_cast<int64_t>(bytes / 4096);
}

struct Regex::Code {
  CodePtr anywhere;
  CodePtr here;  // anchored: the JIT takes that option only when compiling
};

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    fail(ErrorCode::invalid_tokenizer, "a regex has ", pattern.size(), " bytes; at most ", kMaxPatternBytes,
         " are accepted");
  }
  const std::string translated = translate_regex(pattern);
  auto code = std::make_shared<Code>();
  code->anywhere = compile(translated, pattern, 0);
  code->here = compile(translated, pattern, PCRE2_ANCHORED);
  code_ = std::move(code);
}

bool Regex::find(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const {
  RegexScratch::Buffers& b = *scratch.buffers_;
  const int rc = pcre2_match(code_->anywhere.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                             PCRE2_NO_UTF_CHECK, b.match.get(), b.cheap.get());
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) return find_slowly(text, from, scratch, match);
  const size_t* found = pcre2_get_ovector_pointer(b.match.get());
  match = {found[0], found[1]};
  return true;
}

/// One start position after the other, so that each costs at most the small limit or one expensive attempt.
bool Regex::find_slowly(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const {
  RegexScratch::Buffers& b = *scratch.buffers_;
  for (size_t at = from;; at += utf8_length(text[at])) {
    for (pcre2_match_context* context : {b.cheap.get(), b.expensive.get()}) {
      const int rc = pcre2_match(code_->here.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                 PCRE2_NO_UTF_CHECK, b.match.get(), context);
      if (rc >= 0) {
        const size_t* found = pcre2_get_ovector_pointer(b.match.get());
        match = {found[0], found[1]};
        return true;
      }
      if (rc == PCRE2_ERROR_NOMATCH) break;
      const bool last = context == b.expensive.get() || scratch.expensive_left_-- <= 0;
      if (!last) continue;
      PCRE2_UCHAR message[256];
      pcre2_get_error_message(rc, message, sizeof message);
      fail(ErrorCode::invalid_argument, "the tokenizer's regex ", pattern_, " gave up at byte ", at,
           " of a text: ", reinterpret_cast<const char*>(message));
    }
    if (at >= text.size()) return false;
  }
}

}  // namespace bamba
