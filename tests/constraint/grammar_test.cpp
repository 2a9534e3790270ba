// Constraint::grammar: its syntax, and rules that nest.
#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <random>

#include "base/str.h"
#include "constraint/vocabularies.h"
#include "support/error.h"

namespace bamba::test {
namespace {

Constraint grammar(std::string_view text) {
  return Constraint::grammar(text, vocabulary());
}

TEST(Grammar, ExpressionsNest) {
  const Constraint constraint = grammar(R"g(
# sums and products
root    ::= term ([+-] term)*
term    ::= factor ("*" factor)*      # line ends mean nothing
factor  ::= number
          | "(" root ")"
number  ::= [0-9]{1,3} ("." [0-9]+)?
)g");
  for (const char* text : {"1", "(1)", "1+2*3", "((1.5-2)*(3+4))", "(((((7)))))"}) {
    EXPECT_TRUE(constraint.matches(text)) << text;
  }
  for (const char* text : {"", "1+", "(1", "1)", "1234", "()", "1 + 2", "1."}) {
    EXPECT_FALSE(constraint.matches(text)) << text;
  }
  EXPECT_TRUE(constraint.matches(str(std::string(3000, '('), "1", std::string(3000, ')'))));
  EXPECT_FALSE(constraint.matches(str(std::string(3000, '('), "1", std::string(3001, ')'))));
}

TEST(Grammar, MasksAreWhatTryingEveryTokenGives) {
  std::mt19937 random(2);
  const Constraint nested = grammar(R"(
root ::= "a" root "b" | list | "" 
list ::= "[" (item ("," item)*)? "]"
item ::= list | word | "{" root "}"
word ::= "\"" [^"]* "\"" | "ab" | "aab" word?
)");
  for (int run = 0; run < 20; ++run) {
    ConstraintState state(nested);
    for (int step = 0; step < 40 && !state.finished(); ++step) {
      const auto allowed = allowed_by_mask(*state.mask());
      ASSERT_EQ(allowed, allowed_by_trying(state, vocabulary().size()));
      ASSERT_FALSE(allowed.empty());
      ASSERT_TRUE(state.accept(allowed[random() % allowed.size()]));
    }
  }
}

TEST(Grammar, PalindromesAreReadInEveryWayAtOnce) {
  const Constraint constraint = grammar(R"(root ::= "a" root "a" | "b" root "b" | "a" | "b" | "")");
  for (const char* text : {"", "a", "abba", "ababa", "bbabb"}) EXPECT_TRUE(constraint.matches(text)) << text;
  for (const char* text : {"ab", "abab", "aab"}) EXPECT_FALSE(constraint.matches(text)) << text;
}

TEST(Grammar, LiteralsClassesAndCounts) {
  const Constraint constraint = grammar(R"(root ::= "\"\\\n\x41\u00e9" [\d ]{2} . last? last ::= "x" | [^\x00-\x7f])");
  EXPECT_TRUE(constraint.matches("\"\\\nA\u00e91 z"));
  EXPECT_TRUE(constraint.matches("\"\\\nA\u00e91 \nx"));
  EXPECT_TRUE(constraint.matches("\"\\\nA\u00e922\u65e5\u65e5"));
  EXPECT_FALSE(constraint.matches("\"\\\nA\u00e91z"));
}

TEST(Grammar, MistakesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no rule \"root\""},
      {"a ::= \"x\"", "no rule \"root\""},
      {"root ::= other", "no rule \"other\""},
      {"root ::= \"a\" root ::= \"b\"", "there already"},
      {"root = \"a\"", "::="},
      {"root ::= (\"a\"", "not closed"},
      {"root ::= \"a", "not closed"},
      {"root ::= [a", "not closed"},
      {"root ::= \"a\" )", "should begin here"},
      {"root ::= \"a\"{x}", "a count"},
      {"root ::= *", "begins no item"},
      {"root ::= \"\\d\"", "[\\d]"},
      {"root ::= root \"a\" | \"b\"", "left recursion"},
      {"root ::= a a ::= e b e ::= \"x\"? b ::= root \"y\"", "left recursion"},
      {"root ::= \"a\" root", "no text"},
      {"1root ::= \"a\"", "name"},
  };
  for (const auto& [text, word] : cases) {
    SCOPED_TRACE(text);
    expect_error(ErrorCode::invalid_argument, {word}, [&, t = text] { grammar(t); });
  }
}

TEST(Grammar, HostileGrammarsGiveErrors) {
  const auto refused = [](const std::string& text) {
    expect_error(ErrorCode::invalid_argument, {}, [&] {
      const Constraint constraint = grammar(text);
      ConstraintState state(constraint);
      static_cast<void>(state.mask());
    });
  };
  refused(str("root ::= ", std::string(100000, '('), "\"a\"", std::string(100000, ')')));
  refused("root ::= ((\"a\"{1000}){1000}){1000}");
  // Two ways to be called at each of 40 rules: 2^40 stacks.
  std::string ways = "root ::= r0\n";
  for (int i = 0; i < 40; ++i) ways += str("r", i, " ::= r", i + 1, " \"x\" | r", i + 1, " \"y\"\n");
  refused(ways + "r40 ::= \"a\"");
  // Rules past the limit.
  std::string many = "root ::= r0\n";
  for (int i = 0; i < 70000; ++i) many += str("r", i, "::=\"a\"\n");
  refused(many);
}

}  // namespace
}  // namespace bamba::test
