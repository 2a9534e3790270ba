// Stop strings and half characters in text that comes in pieces.
#include "generation/text.h"

#include <gtest/gtest.h>

#include <random>

#include "generation/script_model.h"

namespace bamba {
namespace {

using Strings = std::vector<std::string>;

struct Fed {
  std::string text;
  bool stopped = false;
};

Fed feed(const Strings& stops, const Strings& pieces) {
  StopMatcher matcher{std::span(stops)};
  Fed fed;
  for (const std::string& piece : pieces) {
    fed.stopped = matcher.feed(piece, fed.text);
    if (fed.stopped) return fed;
  }
  matcher.finish(fed.text);
  return fed;
}

TEST(StopMatcher, CutsBeforeTheStopString) {
  EXPECT_EQ(feed({"END"}, {"one ", "END", " two"}).text, "one ");
  EXPECT_TRUE(feed({"END"}, {"one E", "N", "D"}).stopped);
  EXPECT_EQ(feed({"END"}, {"one E", "N", "D"}).text, "one ");
  EXPECT_EQ(feed({"END"}, {"one EN", "E", "END!"}).text, "one ENE");
  EXPECT_FALSE(feed({"END"}, {"one EN"}).stopped);
  EXPECT_EQ(feed({"END"}, {"one EN"}).text, "one EN");
  EXPECT_EQ(feed({}, {"a", "b"}).text, "ab");
}

TEST(StopMatcher, NeverShowsTextThatMayBecomeAStopString) {
  const Strings stops = {"\n\nUser:", "aab"};
  StopMatcher matcher{std::span(stops)};
  std::string out;
  EXPECT_FALSE(matcher.feed("text\n", out));
  EXPECT_EQ(out, "text");
  EXPECT_FALSE(matcher.feed("\nUse", out));
  EXPECT_EQ(out, "text");
  EXPECT_FALSE(matcher.feed("d\n", out));
  EXPECT_EQ(out, "text\n\nUsed");
  EXPECT_FALSE(matcher.feed("aaa", out));
  EXPECT_EQ(out, "text\n\nUsed\na");
  EXPECT_TRUE(matcher.feed("b", out));
  EXPECT_EQ(out, "text\n\nUsed\na");
}

TEST(StopMatcher, PieceBoundariesDoNotMatter) {
  const std::vector<Strings> stop_sets = {{"ab"}, {"abc", "b"}, {"aa", "aab", "ba"}, {"abab", "bb"}, {"c", "abc"}};
  std::mt19937 rng(1);
  for (const Strings& stops : stop_sets) {
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (size_t i = 0; i < 1 + rng() % 12; ++i) text += static_cast<char>('a' + rng() % 3);
      Strings characters;
      for (const char c : text) characters.emplace_back(1, c);
      const Fed want = feed(stops, characters);
      Strings pieces;
      for (size_t at = 0; at < text.size();) {
        const size_t size = 1 + rng() % 5;
        pieces.push_back(text.substr(at, size));
        at += size;
      }
      const Fed got = feed(stops, pieces);
      EXPECT_EQ(got.text, want.text) << text;
      EXPECT_EQ(got.stopped, want.stopped) << text;
    }
  }
}

TEST(TextStream, SpecialTokensStopByTheirId) {
  const Strings words = {"", "a", "<st", "op>", "END"};
  const TextTools tools = test::script_text(words);
  StopRules rules;
  rules.special = {0};
  rules.strings = {"EX"};
  TextStream stream(tools, rules);
  EXPECT_FALSE(stream.push(1));
  EXPECT_FALSE(stream.push(2));
  EXPECT_FALSE(stream.push(3));
  EXPECT_FALSE(stream.push(4));
  EXPECT_TRUE(stream.push(0));
  EXPECT_EQ(stream.text(), "a<stop>END");
}

TEST(TextStream, HalfACharacterAtTheEndIsMarked) {
  const Strings words = {"\xC3", "\xA9", "x"};
  const TextTools tools = test::script_text(words);
  const StopRules rules;
  TextStream stream(tools, rules);
  stream.push(0);
  EXPECT_EQ(stream.last_piece(), "");
  stream.push(1);
  EXPECT_EQ(stream.last_piece(), "\xC3\xA9");
  stream.push(0);
  stream.finish();
  EXPECT_EQ(stream.text(), "\xC3\xA9\xEF\xBF\xBD");
}

}  // namespace
}  // namespace bamba
