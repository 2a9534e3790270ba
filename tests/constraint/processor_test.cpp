// Constraints as logits processors: one sequence, several, beams, and what was forgotten.
#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "constraint/constraint_tracker.h"
#include "constraint/vocabularies.h"
#include "support/error.h"

namespace bamba::test {
namespace {

std::vector<int64_t> allowed_scores(const std::vector<float>& scores) {
  std::vector<int64_t> out;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!std::isinf(scores[id])) out.push_back(static_cast<int64_t>(id));
  }
  return out;
}

TEST(ConstraintProcessor, FollowsSequencesThatShareBeginnings) {
  const TokenVocabulary vocabulary = small_vocabulary();
  const Constraint constraint = Constraint::json_object(vocabulary);
  const auto processor = make_constraint_processor(constraint, 2);
  // More scores than the tokenizer has tokens: the rows of an embedding that no token uses are forbidden.
  const size_t width = static_cast<size_t>(vocabulary.size()) + 7;
  std::mt19937 random(1);
  std::vector<std::vector<int64_t>> beams(4, {999, 998});
  for (int step = 0; step < 30; ++step) {
    std::vector<std::vector<int64_t>> next;
    for (const auto& beam : beams) {
      std::vector<float> scores(width, 1.0F);
      processor(beam, scores);
      const auto allowed = allowed_scores(scores);
      ConstraintState state(constraint);
      for (size_t i = 2; i < beam.size(); ++i) ASSERT_TRUE(state.accept(beam[i]));
      ASSERT_EQ(allowed, allowed_by_mask(*state.mask()));
      next.push_back(beam);
      int64_t id = allowed[random() % allowed.size()];
      if (id == vocabulary.eos_token_ids()[0]) id = allowed[0];
      next.back().push_back(id);
      if (id == vocabulary.eos_token_ids()[0]) next.back() = {999, 998};
    }
    // As beam search does: some go on twice, others end.
    for (auto& beam : beams) beam = next[random() % next.size()];
  }
}

TEST(ConstraintProcessor, PromptsAreNotLookedAt) {
  const TokenVocabulary vocabulary = small_vocabulary();
  const Constraint constraint = Constraint::regex("ab", vocabulary);
  const auto processor = make_constraint_processor(constraint, 3);
  std::vector<float> scores(static_cast<size_t>(vocabulary.size()), 0.0F);
  processor(std::vector<int64_t>{'x', 'y', 'z', 'a'}, scores);
  EXPECT_EQ(allowed_scores(scores), std::vector<int64_t>{'b'});
  expect_error(ErrorCode::invalid_argument, {"shorter than the prompt"},
               [&] { processor(std::vector<int64_t>{1}, scores); });
  std::fill(scores.begin(), scores.end(), 0.0F);
  processor(std::vector<int64_t>{'x', 'y', 'z', 'q'}, scores);
  EXPECT_EQ(allowed_scores(scores).size(), scores.size()) << "a sequence that is out is left alone";
}

TEST(ConstraintProcessor, NeedsAnEnd) {
  const TokenVocabulary endless(std::vector<std::string>{"a"}, {});
  const Constraint constraint = Constraint::regex("a+", endless);
  expect_error(ErrorCode::invalid_argument, {"end-of-text"}, [&] { make_constraint_processor(constraint, 0); });
}

TEST(ConstraintTracker, RunsAgainWhatItForgot) {
  const TokenVocabulary vocabulary = small_vocabulary();
  ConstraintTracker tracker(Constraint::regex("(ab)*", vocabulary));
  std::vector<int64_t> ids;
  std::vector<float> scores(static_cast<size_t>(vocabulary.size()));
  // 4,000 steps of a growing sequence keep 8 million ids, twice what is kept.
  for (int i = 0; i < 4000; ++i) {
    ids.push_back(i % 2 == 0 ? 'a' : 'b');
    std::fill(scores.begin(), scores.end(), 0.0F);
    tracker.apply(ids, scores);
  }
  std::fill(scores.begin(), scores.end(), 0.0F);
  tracker.apply(std::span(ids).first(1), scores);
  EXPECT_TRUE(std::isinf(scores['a']));
  EXPECT_FALSE(std::isinf(scores['b']));
}

TEST(ConstraintState, OutlivesTheAutomatonItBeganIn) {
  // Every mask of this one makes new states; the automaton is replaced when they take too much memory.
  const TokenVocabulary vocabulary = golden_vocabulary();
  const Constraint constraint = Constraint::json_schema(R"({"type":"string","maxLength":40000})", vocabulary);
  ConstraintState first(constraint);
  const auto quote = first.mask();
  std::mt19937 random(3);
  ConstraintState state(constraint);
  int64_t last = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto allowed = allowed_by_mask(*state.mask());
    last = allowed[random() % allowed.size()];
    if (i > 0 && (token_text(vocabulary, last).find('"') != std::string::npos)) continue;
    ASSERT_TRUE(state.accept(last)) << i;
  }
  EXPECT_EQ(allowed_by_mask(*first.mask()), allowed_by_mask(*quote));
}

}  // namespace
}  // namespace bamba::test
