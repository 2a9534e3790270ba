// Constraint::regex against PCRE2 and by hand.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <random>

#include "constraint/vocabularies.h"
#include "support/error.h"

namespace bamba::test {
namespace {

/// Whole-text matching by PCRE2.
class Pcre {
 public:
  explicit Pcre(const std::string& pattern) {
    const std::string whole = "\\A(?:" + pattern + ")\\z";
    int error = 0;
    size_t where = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(whole.data()), whole.size(), PCRE2_UTF, &error, &where, nullptr);
    if (code_ == nullptr) throw std::runtime_error("PCRE2 refuses " + pattern);
    data_ = pcre2_match_data_create(1, nullptr);
  }
  Pcre(const Pcre&) = delete;
  Pcre& operator=(const Pcre&) = delete;
  ~Pcre() {
    pcre2_match_data_free(data_);
    pcre2_code_free(code_);
  }
  bool matches(const std::string& text) const {
    const int rc = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data_, nullptr);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) throw std::runtime_error("PCRE2 gives up");
    return rc >= 0;
  }

 private:
  pcre2_code* code_ = nullptr;
  pcre2_match_data* data_ = nullptr;
};

class Patterns {
 public:
  explicit Patterns(unsigned seed) : random_(seed) {}

  std::string pattern(int depth = 3) {
    std::string out = sequence(depth);
    while (random_() % 3 == 0) out.append("|").append(sequence(depth));
    return out;
  }
  /// Of the characters that the patterns are about.
  std::string text() {
    std::string out;
    for (size_t n = random_() % 7; n > 0; --n) out += pick({"a", "b", "c", "1", " ", "\n", "é", "日", "_"});
    return out;
  }
  std::mt19937& random() { return random_; }

 private:
  std::string pick(std::initializer_list<const char*> choices) {
    return *(choices.begin() + random_() % choices.size());
  }
  std::string sequence(int depth) {
    std::string out;
    for (size_t n = random_() % 4; n > 0; --n) {
      out += atom(depth);
      if (random_() % 3 == 0) out += pick({"*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "??"});
    }
    return out;
  }
  std::string atom(int depth) {
    if (depth > 0 && random_() % 4 == 0) {
      return pick({"(", "(?:"}).append(pattern(depth - 1)).append(")");
    }
    return pick({"a",   "b",   "c",    "é",    "日",    "1",      ".",      "\\d", "\\w",   "\\s",    "\\D",
                 "\\W", "\\S", "[ab]", "[^a]", "[a-c]", "[^\\d]", "[é-日]", "\\n", "\\x61", "[\\w-]", "_"});
  }

  std::mt19937 random_;
};

TEST(Regex, AgreesWithPcre2OnRandomPatternsAndTexts) {
  Patterns patterns(7);
  int matches = 0;
  int total = 0;
  int walks = 0;
  for (int i = 0; i < 600; ++i) {
    std::string pattern = patterns.pattern();
    SCOPED_TRACE(pattern);
    const Pcre pcre(pattern);
    const Constraint constraint = Constraint::regex(pattern, vocabulary());
    for (int j = 0; j < 30; ++j) {
      const std::string text = patterns.text();
      const bool expected = pcre.matches(text);
      ASSERT_EQ(constraint.matches(text), expected) << "'" << text << "'";
      matches += expected ? 1 : 0;
      ++total;
    }
    // What the constraint lets through must match as well.
    for (int j = 0; j < 3; ++j) {
      const auto text = random_text(constraint, patterns.random(), 12);
      if (!text) continue;
      ++walks;
      ASSERT_TRUE(pcre.matches(*text)) << "'" << *text << "'";
      ASSERT_TRUE(constraint.matches(*text));
    }
  }
  EXPECT_GT(matches, total / 50) << "texts that never match would test nothing";
  EXPECT_LT(matches, total * 9 / 10);
  EXPECT_GT(walks, 1500) << "of 1,800 walks";
}

TEST(Regex, MasksAreWhatTryingEveryTokenGives) {
  Patterns patterns(11);
  for (int i = 0; i < 60; ++i) {
    const std::string pattern = patterns.pattern();
    SCOPED_TRACE(pattern);
    const Constraint constraint = Constraint::regex(pattern, vocabulary());
    ConstraintState state(constraint);
    for (int step = 0; step < 8; ++step) {
      const auto mask = state.mask();
      const std::vector<int64_t> allowed = allowed_by_mask(*mask);
      ASSERT_EQ(allowed, allowed_by_trying(state, vocabulary().size())) << "step " << step;
      ASSERT_EQ(static_cast<size_t>(mask->count()), allowed.size());
      ASSERT_FALSE(allowed.empty());
      ASSERT_TRUE(state.accept(allowed[patterns.random()() % allowed.size()]));
      if (state.finished()) break;
    }
  }
}

TEST(Regex, CharactersMayBeSplitOverTokens) {
  const Constraint constraint = Constraint::regex("[é日]+", vocabulary());
  ConstraintState state(constraint);
  EXPECT_FALSE(state.accept('a'));
  EXPECT_FALSE(state.accept(0xA9)) << "a continuation byte begins no character";
  ASSERT_TRUE(state.accept(0xC3));
  EXPECT_FALSE(state.can_end());
  EXPECT_FALSE(state.accept(0xAA)) << "ê is not in the class";
  ASSERT_TRUE(state.accept(0xA9));
  EXPECT_TRUE(state.can_end());
  ASSERT_TRUE(state.accept(0xE6));
  ASSERT_TRUE(state.accept(0x97));
  ASSERT_TRUE(state.accept(0xA5));
  EXPECT_FALSE(state.must_end());
  const int64_t eos = vocabulary().eos_token_ids()[0];
  ASSERT_TRUE(state.accept(eos));
  EXPECT_TRUE(state.finished());
  EXPECT_FALSE(state.accept(eos));
  EXPECT_EQ(state.mask()->count(), 0);
}

TEST(Regex, OnlyEosIsLeftWhenNothingMayFollow) {
  const Constraint constraint = Constraint::regex("ab?", vocabulary());
  ConstraintState state(constraint);
  ASSERT_TRUE(state.accept('a'));
  EXPECT_TRUE(state.can_end());
  EXPECT_FALSE(state.must_end());
  ConstraintState copy = state;
  ASSERT_TRUE(copy.accept('b'));
  EXPECT_TRUE(copy.must_end());
  EXPECT_EQ(allowed_by_mask(*copy.mask()), std::vector<int64_t>{vocabulary().eos_token_ids()[0]});
  EXPECT_FALSE(state.must_end()) << "a copy's step is its own";
}

TEST(Regex, DeadEndsAreNeverEntered) {
  // No token spells 'z' here, so what needs one must not be begun.
  const std::vector<std::string> tokens = {"a", "b", "c", "az", "xz", ""};
  const int64_t eos = 5;
  const TokenVocabulary few(tokens, std::span(&eos, 1));
  const Constraint constraint = Constraint::regex("a(bz|bc)|xzq", few);
  ConstraintState state(constraint);
  EXPECT_EQ(allowed_by_mask(*state.mask()), std::vector<int64_t>{0});
  ASSERT_TRUE(state.accept(0));
  ASSERT_TRUE(state.accept(1));
  EXPECT_EQ(allowed_by_mask(*state.mask()), std::vector<int64_t>{2});
  expect_error(ErrorCode::invalid_argument, {"no text", "tokens"}, [&] { Constraint::regex("az", few); });
}

TEST(Regex, SyntaxThatIsNotSupportedIsNamed) {
  const std::initializer_list<std::pair<const char*, const char*>> cases = {
      {"a(?=b)", "look-ahead"},
      {"a(?!b)", "look-ahead"},
      {"(?<=a)b", "look-behind"},
      {"(?<!a)b", "look-behind"},
      {"(a)\\1", "back-references"},
      {"(?<n>a)\\k<n>", "back-references"},
      {"\\bword", "word boundar"},
      {"\\p{L}", "properties"},
      {"a++", "possessive"},
      {"(?>a)", "atomic"},
      {"(?i)a", "(?:...)"},
      {"a^b", "outermost"},
      {"(^a)", "outermost"},
      {"a$b", "outermost"},
      {"a**", "two counts"},
      {"*a", "nothing to repeat"},
      {"a{3,2}", "wrong order"},
      {"[b-a]", "wrong order"},
      {"[[:alpha:]]", "POSIX"},
      {"[a", "not closed"},
      {"(a", "not closed"},
      {"a)", "closing"},
      {"a\\", "backslash"},
      {"\\u12", "hexadecimal"},
      {"\\ud800", "no character"},
      {"a{999999}", "larger than"},
      {"[]", "empty character class"},
      {"\\Aa", "anchor"},
      {"[\\d-z]", "range"},
      {"\\u{110000}", "no character"},
      {"(*SKIP)", "verbs"},
      {"\\07", "octal"},
      {"\xFF", "UTF-8"},
  };
  for (const auto& [pattern, word] : cases) {
    SCOPED_TRACE(pattern);
    expect_error(ErrorCode::invalid_argument, {"the regex", word},
                 [&, p = pattern] { Constraint::regex(p, vocabulary()); });
  }
}

TEST(Regex, AnchorsAtTheEndsSayNothingNew) {
  for (const char* pattern : {"^ab$", "^ab", "ab$", "ab", "^ab$|^cd$"}) {
    const Constraint constraint = Constraint::regex(pattern, vocabulary());
    EXPECT_TRUE(constraint.matches("ab")) << pattern;
    EXPECT_FALSE(constraint.matches("abb")) << pattern;
    EXPECT_FALSE(constraint.matches("")) << pattern;
  }
}

TEST(Regex, EscapesAndRanges) {
  const auto matches = [](const char* pattern, std::string_view text) {
    return Constraint::regex(pattern, vocabulary()).matches(text);
  };
  EXPECT_TRUE(matches("\\u00e9", "é"));
  EXPECT_TRUE(matches("\\u{1F600}", "😀"));
  EXPECT_TRUE(matches("\\uD83D\\uDE00", "😀"));
  EXPECT_TRUE(matches("[\\u{1F600}-\\u{1F64F}]", "😃"));
  EXPECT_FALSE(matches("[\\u{1F600}-\\u{1F64F}]", "🙐"));
  EXPECT_TRUE(matches("[^a]", "\xF4\x8F\xBF\xBF"));
  EXPECT_FALSE(matches("[^a]", "\xED\xA0\x80")) << "a surrogate has no UTF-8";
  EXPECT_FALSE(matches(".", "\xC0\x80")) << "overlong";
  EXPECT_TRUE(matches("a{,2}", "aa"));
  EXPECT_TRUE(matches("{a}", "{a}"));
  EXPECT_TRUE(matches("[\\]\\-^]+", "]-^"));
  EXPECT_FALSE(matches(".", "\n"));
}

TEST(Regex, HostilePatternsEndQuickly) {
  expect_error(ErrorCode::invalid_argument, {"too large"}, [] { Constraint::regex("(a{1000}){1000}", vocabulary()); });
  expect_error(ErrorCode::invalid_argument, {"too large"},
               [] { Constraint::regex("((((){10000}){10000}){10000}){10000}", vocabulary()); });
  expect_error(ErrorCode::invalid_argument, {"too large"},
               [] { Constraint::regex("((((a?){100}){100}){100}){100}", vocabulary()); });
  expect_error(ErrorCode::invalid_argument, {"nested"},
               [] { Constraint::regex(std::string(30000, '(') + std::string(30000, ')'), vocabulary()); });
  expect_error(ErrorCode::invalid_argument, {"bytes"},
               [] { Constraint::regex(std::string(1 << 20, 'a'), vocabulary()); });
  // What makes a backtracking matcher explode.
  const Constraint nested = Constraint::regex("(a+)+b|(a*)*c|(a|aa)+d", vocabulary());
  EXPECT_FALSE(nested.matches(std::string(20000, 'a')));
  EXPECT_TRUE(nested.matches(std::string(20000, 'a') + "d"));
  // 2^20 states if all were made at once.
  const Constraint wide = Constraint::regex("(a|b)*a(a|b){20}", vocabulary());
  EXPECT_TRUE(wide.matches(std::string(500, 'b') + "a" + std::string(20, 'b')));
  // Every state has thousands of places: each step is slow, so one mask must not take as many as it likes.
  expect_error(ErrorCode::invalid_argument, {"the constraint is too"}, [] {
    const Constraint heavy = Constraint::regex("([^q]{0,9}){3000}z", vocabulary());
    ConstraintState state(heavy);
    for (int i = 0; i < 100; ++i) {
      static_cast<void>(state.mask());
      if (!state.accept('a' + i % 5)) ADD_FAILURE();
    }
  });
}

}  // namespace
}  // namespace bamba::test
