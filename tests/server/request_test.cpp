// From JSON bodies to what the engine is asked to do.
#include <gtest/gtest.h>

#include <algorithm>

#include "server/api_error.h"
#include "server/api_fixture.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/constraint_fields.h"

namespace bamba::test {
namespace {

using server::ReplyPlan;

const server::ServedModel& model() {
  static const auto served = served_model(std::make_shared<ScriptedEngine>());
  return *served;
}

ReplyPlan completion(const std::string& body) {
  server::ConstraintCache constraints;
  return server::plan_completion(server::parse_body(body), model(), constraints);
}

ReplyPlan chat(const std::string& body) {
  server::ConstraintCache constraints;
  return server::plan_chat(server::parse_body(body), model(), constraints);
}

TEST(Request, DefaultsComeFromTheModel) {
  const ReplyPlan plan = completion(R"({"prompt": "Hi"})");
  ASSERT_EQ(plan.prompts.size(), 1U);
  const EngineRequest& request = plan.prompts[0].request;
  EXPECT_EQ(request.prompt_ids, demo_tokenizer()->encode("Hi"));
  EXPECT_TRUE(request.generation.do_sample);
  EXPECT_EQ(request.generation.temperature, 0.7);
  EXPECT_EQ(request.generation.top_p, 0.9);
  EXPECT_EQ(request.generation.eos_token_id, std::vector<int64_t>{1});
  // generation_config.json says 400, and the context of 64 leaves this.
  EXPECT_EQ(request.generation.max_new_tokens, 64 - static_cast<int64_t>(request.prompt_ids.size()));
  EXPECT_FALSE(plan.stream || plan.logprobs || plan.echo || plan.chat);
  EXPECT_NE(request.generation.seed, completion(R"({"prompt": "Hi"})").prompts[0].request.generation.seed);
}

TEST(Request, WithoutALengthCompletionsHaveOpenAIs) {
  server::ServedModel bare = model();
  bare.defaults.max_new_tokens.reset();
  bare.default_max_tokens = 33;
  server::ConstraintCache constraints;
  EXPECT_EQ(server::plan_completion(server::parse_body(R"({"prompt": "Hi"})"), bare, constraints)
                .prompts[0]
                .request.generation.max_new_tokens,
            16);
  EXPECT_EQ(
      server::plan_chat(server::parse_body(R"({"messages": [{"role": "user", "content": "Hi"}]})"), bare, constraints)
          .prompts[0]
          .request.generation.max_new_tokens,
      33);
}

TEST(Request, SettingsArrive) {
  const ReplyPlan plan = completion(R"({"prompt": ["a", "b c"], "max_tokens": 7.0, "temperature": 0.25, "top_p": 0.5,
    "top_k": -1, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.5, "presence_penalty": -1,
    "frequency_penalty": 2, "logit_bias": {"7": -100, "8": 3}, "seed": -1, "stop": ["x", "yz"], "n": 2, "best_of": 3,
    "logprobs": 4, "echo": true, "priority": -3, "timeout": 1.5, "min_tokens": 2, "stop_token_ids": [9, 10],
    "ignore_eos": true, "no_repeat_ngram_size": 3, "return_token_ids": true, "user": 5, "metadata": {"a": 1}})");
  ASSERT_EQ(plan.prompts.size(), 2U);
  EXPECT_EQ(plan.choices, 2);
  EXPECT_TRUE(plan.logprobs && plan.echo && plan.token_ids);
  EXPECT_EQ(plan.prompts[1].echo, "b c");
  const EngineRequest& request = plan.prompts[1].request;
  const GenerationConfig& config = request.generation;
  EXPECT_EQ(config.max_new_tokens, 7);
  EXPECT_EQ(config.temperature, 0.25);
  EXPECT_EQ(config.top_p, 0.5);
  EXPECT_EQ(config.top_k, 0);
  EXPECT_EQ(config.min_p, 0.1);
  EXPECT_EQ(config.typical_p, 0.9);
  EXPECT_EQ(config.repetition_penalty, 1.5);
  EXPECT_EQ(config.presence_penalty, -1);
  EXPECT_EQ(config.frequency_penalty, 2);
  EXPECT_EQ(config.logit_bias, (std::map<int64_t, double>{{7, -100}, {8, 3}}));
  EXPECT_EQ(config.seed, ~uint64_t{0});
  EXPECT_EQ(config.stop_strings, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(config.num_return_sequences, 2);
  EXPECT_EQ(config.top_logprobs, 4);
  EXPECT_EQ(config.min_new_tokens, 2);
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{9, 10}));
  EXPECT_EQ(config.no_repeat_ngram_size, 3);
  EXPECT_EQ(request.best_of, 3);
  EXPECT_TRUE(request.prompt_logprobs);
  EXPECT_EQ(request.priority, -3);
  EXPECT_EQ(request.timeout_seconds, 1.5);
}

TEST(Request, ZeroTemperatureIsGreedy) {
  EXPECT_FALSE(completion(R"({"prompt": "a", "temperature": 0})").prompts[0].request.generation.do_sample);
  EXPECT_FALSE(completion(R"({"prompt": "a", "temperature": 1e-9})").prompts[0].request.generation.do_sample);
  EXPECT_TRUE(completion(R"({"prompt": "a", "temperature": 0.01})").prompts[0].request.generation.do_sample);
}

TEST(Request, PromptsMayBeIds) {
  EXPECT_EQ(completion(R"({"prompt": [5, 6, 7]})").prompts[0].request.prompt_ids, (std::vector<int64_t>{5, 6, 7}));
  const ReplyPlan lists = completion(R"({"prompt": [[5], [6, 7]], "echo": true})");
  EXPECT_EQ(lists.prompts[1].request.prompt_ids, (std::vector<int64_t>{6, 7}));
  EXPECT_EQ(lists.prompts[1].echo, demo_tokenizer()->decode(std::vector<int64_t>{6, 7}, true));
  // An empty prompt begins with bos.
  EXPECT_EQ(completion(R"({"prompt": "", "add_special_tokens": false})").prompts[0].request.prompt_ids,
            std::vector<int64_t>{0});
}

TEST(Request, LengthsAreKeptInTheContext) {
  std::string ids = "[1";
  for (int i = 1; i < 64; ++i) ids += ",1";
  try {
    completion(R"({"prompt": )" + ids + "]}");
    FAIL() << "a prompt that fills the context";
  } catch (const server::ApiError& error) {
    EXPECT_EQ(error.code(), "context_length_exceeded");
  }
  try {
    completion(R"({"prompt": ")" + std::string(1 << 20, 'a') + "\"}");
    FAIL() << "a text that no tokens can fit in";
  } catch (const server::ApiError& error) {
    EXPECT_EQ(error.code(), "context_length_exceeded");
    EXPECT_NE(std::string(error.what()).find("1048576 bytes"), std::string::npos) << error.what();
  }
  EXPECT_THROW(completion(R"({"prompt": [1, 2], "max_tokens": 63})"), server::ApiError);
  EXPECT_EQ(completion(R"({"prompt": [1, 2], "max_tokens": 62})").prompts[0].request.generation.max_new_tokens, 62);
}

TEST(Request, MessageEndsAreCachePoints) {
  const ReplyPlan plan = chat(R"({"max_tokens": 1, "messages": [{"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Who?"}]})");
  const EngineRequest& request = plan.prompts[0].request;
  const std::vector<ChatMessage> messages = {
      {"system", "Be kind."}, {"user", "Hi"}, {"assistant", "Yes?"}, {"user", "Who?"}};
  EXPECT_EQ(request.prompt_ids, demo_tokenizer()->encode(demo_tokenizer()->apply_chat_template(messages), false));
  std::vector<int64_t> expected;
  for (size_t count = 1; count <= messages.size(); ++count) {
    const auto part =
        demo_tokenizer()->encode(demo_tokenizer()->apply_chat_template(std::span(messages).first(count), false), false);
    const auto differ = std::mismatch(part.begin(), part.end(), request.prompt_ids.begin(), request.prompt_ids.end());
    expected.push_back(differ.first - part.begin());
  }
  EXPECT_EQ(request.cache_points, expected);
}

TEST(Request, LongConversationsHaveFewCachePoints) {
  std::string body = R"({"max_tokens": 1, "messages": [)";
  for (int i = 0; i < 12; ++i) body += std::string(i > 0 ? "," : "") + R"({"role": "user", "content": "x"})";
  EXPECT_LE(chat(body + "]}").prompts[0].request.cache_points.size(), 6U);
}

TEST(Request, ModelsWithoutATokenizerTakeIds) {
  server::ServedModel bare = model();
  bare.tokenizer = nullptr;
  server::ConstraintCache constraints;
  const auto plan = [&](const char* body) {
    return server::plan_completion(server::parse_body(body), bare, constraints);
  };
  EXPECT_EQ(plan(R"({"prompt": [1, 2]})").prompts[0].request.prompt_ids.size(), 2U);
  for (const char* body :
       {R"({"prompt": "text"})", R"({"prompt": [1], "stop": "x"})", R"({"prompt": [1], "regex": "a"})"}) {
    EXPECT_THROW(plan(body), server::ApiError) << body;
  }
  EXPECT_THROW(
      server::plan_chat(server::parse_body(R"({"messages": [{"role": "user", "content": "Hi"}]})"), bare, constraints),
      server::ApiError);
}

}  // namespace
}  // namespace bamba::test
