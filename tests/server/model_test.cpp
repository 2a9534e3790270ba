// The demo model behind the whole server: what clients get is what generate() gives.
#include <bamba/generation.h>
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>

#include "server/demo_server.h"

namespace bamba::test {
namespace {

using Json = nlohmann::json;

GeneratedSequence alone(const std::string& prompt, const std::function<void(GenerationConfig&)>& change) {
  GenerationConfig config = GenerationConfig::from_pretrained(BAMBA_DEMO_MODEL, demo_model().config());
  change(config);
  const std::vector<std::vector<int64_t>> prompts = {demo_tokenizer()->encode(prompt)};
  GenerateOptions options;
  options.tokenizer = demo_tokenizer().get();
  return generate(demo_model(), prompts, config, options).sequences.front();
}

TEST(ServedModel, GreedyCompletionsAreGenerates) {
  const GeneratedSequence expected = alone("Once upon a time", [](GenerationConfig& config) {
    config.do_sample = false;
    config.max_new_tokens = 30;
  });
  const Json answer =
      post(demo().port(), "/v1/completions", {{"prompt", "Once upon a time"}, {"max_tokens", 30}, {"temperature", 0}})
          .json();
  EXPECT_EQ(answer["choices"][0]["text"], expected.text);
  EXPECT_EQ(answer["usage"]["completion_tokens"], expected.ids.size());
  EXPECT_EQ(answer["choices"][0]["finish_reason"], expected.finish_reason == FinishReason::length ? "length" : "stop");
}

TEST(ServedModel, SeededSamplesAreGenerates) {
  const GeneratedSequence expected = alone("The old lighthouse", [](GenerationConfig& config) {
    config.max_new_tokens = 25;
    config.temperature = 1.2;
    config.top_k = 0;
    config.top_p = 0.95;
    config.frequency_penalty = 0.3;
    config.presence_penalty = 0.1;
    config.seed = 77;
    config.logit_bias = {{300, 2.0}, {17, -100.0}};
  });
  const Json body = {{"prompt", "The old lighthouse"},
                     {"max_tokens", 25},
                     {"temperature", 1.2},
                     {"top_k", -1},
                     {"top_p", 0.95},
                     {"frequency_penalty", 0.3},
                     {"presence_penalty", 0.1},
                     {"seed", 77},
                     {"logit_bias", {{"300", 2}, {"17", -100}}},
                     {"user", "somebody"},
                     {"unknown_field", {1, 2}}};
  EXPECT_EQ(post(demo().port(), "/v1/completions", body).json()["choices"][0]["text"], expected.text);
}

TEST(ServedModel, StreamsAreTheWholeAnswerInPieces) {
  for (const bool chat : {false, true}) {
    Json body = {{"max_tokens", 24}, {"seed", 5}, {"temperature", 1.5}, {"n", 2}, {"return_token_ids", true}};
    if (chat) {
      body["messages"] = {{{"role", "system"}, {"content", "Tell stories."}},
                          {{"role", "user"}, {"content", "A fox?"}}};
      body["logprobs"] = true;
      body["top_logprobs"] = 2;
    } else {
      body["prompt"] = "A żółw ";
      body["logprobs"] = 2;
      body["echo"] = true;
    }
    const std::string target = chat ? "/v1/chat/completions" : "/v1/completions";
    const Json whole = post(demo().port(), target, body).json();
    body["stream"] = true;
    const Answer stream = post(demo().port(), target, body);
    EXPECT_TRUE(stream.done());
    std::vector<std::string> texts(2);
    std::vector<std::string> reasons(2);
    std::vector<Json> ids(2, Json::array());
    std::vector<Json> logprobs(2, Json::array());
    for (const Json& event : stream.events()) {
      const Json& choice = event["choices"].at(0);
      const size_t index = choice["index"];
      texts.at(index) += chat ? choice["delta"].value("content", "") : choice["text"].get<std::string>();
      if (!choice["finish_reason"].is_null()) reasons[index] = choice["finish_reason"];
      for (const Json& id : choice.value("token_ids", Json::array())) ids[index].push_back(id);
      if (choice["logprobs"].is_null()) continue;
      for (const Json& entry : choice["logprobs"][chat ? "content" : "token_logprobs"])
        logprobs[index].push_back(entry);
    }
    for (size_t i = 0; i < 2; ++i) {
      const Json& choice = whole["choices"][i];
      EXPECT_EQ(choice["index"], i);
      EXPECT_EQ(texts[i], chat ? choice["message"]["content"] : choice["text"]);
      EXPECT_EQ(reasons[i], choice["finish_reason"]);
      EXPECT_EQ(ids[i], choice["token_ids"]);
      EXPECT_EQ(logprobs[i], choice["logprobs"][chat ? "content" : "token_logprobs"]);
    }
  }
}

TEST(ServedModel, EchoScoresThePrompt) {
  const std::string prompt = "The sun is a star";
  const Json answer =
      post(demo().port(), "/v1/completions", {{"prompt", prompt}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 1}})
          .json();
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], prompt);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
  const std::vector<int64_t> ids = demo_tokenizer()->encode(prompt);
  const Json& logprobs = choice["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), ids.size());
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  // The model's own word on it.
  SequenceState state = demo_model().new_state();
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  input.logits = LogitsToKeep::all;
  const RaggedOutput output = demo_model().forward({&input, 1});
  const auto logits = output.logits.data<float>();
  const auto vocab = static_cast<size_t>(demo_model().config().vocab_size);
  std::string joined;
  for (size_t i = 1; i < ids.size(); ++i) {
    const auto row = logits.subspan((i - 1) * vocab, vocab);
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    const double expected = static_cast<double>(row[static_cast<size_t>(ids[i])]) - std::log(sum);
    // Both sum 4096 terms in double; the logits are the same bits.
    EXPECT_NEAR(logprobs["token_logprobs"][i].get<double>(), expected, 1e-9) << i;
    EXPECT_LE(logprobs["text_offset"][i - 1], logprobs["text_offset"][i]);
  }
}

TEST(ServedModel, ChatIsTheTemplatesPrompt) {
  const std::vector<ChatMessage> messages = {{"system", "Answer briefly."}, {"user", "What is a fox?"}};
  const std::vector<std::vector<int64_t>> prompts = {
      demo_tokenizer()->encode(demo_tokenizer()->apply_chat_template(messages), false)};
  GenerationConfig config = GenerationConfig::from_pretrained(BAMBA_DEMO_MODEL, demo_model().config());
  config.do_sample = false;
  config.max_new_tokens = 20;
  GenerateOptions options;
  options.tokenizer = demo_tokenizer().get();
  const auto expected = generate(demo_model(), prompts, config, options).sequences.front();
  const Json answer =
      post(demo().port(), "/v1/chat/completions",
           {{"messages",
             {{{"role", "developer"}, {"content", "Answer briefly."}},
              {{"role", "user"},
               {"content", {{{"type", "text"}, {"text", "What is "}}, {{"type", "text"}, {"text", "a fox?"}}}}}}},
            {"max_completion_tokens", 20},
            {"temperature", 0}})
          .json();
  EXPECT_EQ(answer["choices"][0]["message"]["content"], expected.text);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], prompts[0].size());
}

TEST(ServedModel, TheNextTurnOfAConversationIsCached) {
  std::string story = "Once there was a fox.";
  for (int i = 0; i < 20; ++i)
    story += " It walked through the forest and met a bird number " + std::to_string(i) + ".";
  Json messages = {{{"role", "system"}, {"content", story}}, {{"role", "user"}, {"content", "Who walked?"}}};
  Json body = {{"messages", messages}, {"max_tokens", 8}, {"temperature", 0}};
  const Json first = post(demo().port(), "/v1/chat/completions", body).json();
  messages.push_back({{"role", "assistant"}, {"content", first["choices"][0]["message"]["content"]}});
  messages.push_back({{"role", "user"}, {"content", "And who did it meet?"}});
  body["messages"] = messages;
  const Json second = post(demo().port(), "/v1/chat/completions", body).json();
  const int64_t cached = second["usage"]["prompt_tokens_details"]["cached_tokens"];
  // At least everything up to the first question is there.
  EXPECT_GT(cached, first["usage"]["prompt_tokens"].get<int64_t>() - 12);
  // Another question after the same system prompt.
  body["messages"] = {messages[0], {{"role", "user"}, {"content", "Name something else entirely."}}};
  const Json other = post(demo().port(), "/v1/chat/completions", body).json();
  EXPECT_GT(other["usage"]["prompt_tokens_details"]["cached_tokens"],
            first["usage"]["prompt_tokens"].get<int64_t>() - 20);
}

TEST(ServedModel, StopsEndTheText) {
  const Json free =
      post(demo().port(), "/v1/completions", {{"prompt", "Once upon a time"}, {"max_tokens", 30}, {"temperature", 0}})
          .json();
  const std::string text = free["choices"][0]["text"];
  const std::string stop = text.substr(text.size() / 2, 3);
  for (const Json& stops : {Json(stop), Json({"no such words", stop})}) {
    const Json cut = post(demo().port(), "/v1/completions",
                          {{"prompt", "Once upon a time"}, {"max_tokens", 30}, {"temperature", 0}, {"stop", stops}})
                         .json();
    EXPECT_EQ(cut["choices"][0]["text"], text.substr(0, text.find(stop)));
    EXPECT_EQ(cut["choices"][0]["finish_reason"], "stop");
  }
}

TEST(ServedModel, ManyPromptsAndChoicesKeepTheirPlaces) {
  const Json one = post(demo().port(), "/v1/completions",
                        {{"prompt", "A cat"}, {"max_tokens", 6}, {"temperature", 1.0}, {"seed", 3}, {"n", 2}})
                       .json();
  const Json both =
      post(demo().port(), "/v1/completions",
           {{"prompt", {"A dog", "A cat"}}, {"max_tokens", 6}, {"temperature", 1.0}, {"seed", 3}, {"n", 2}})
          .json();
  ASSERT_EQ(both["choices"].size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(both["choices"][i]["index"], i);
  EXPECT_EQ(both["choices"][2]["text"], one["choices"][0]["text"]);
  EXPECT_EQ(both["choices"][3]["text"], one["choices"][1]["text"]);
  const Json best =
      post(demo().port(), "/v1/completions",
           {{"prompt", "A cat"}, {"max_tokens", 6}, {"temperature", 1.0}, {"seed", 3}, {"n", 1}, {"best_of", 3}})
          .json();
  EXPECT_EQ(best["choices"].size(), 1U);
  EXPECT_EQ(best["usage"]["completion_tokens"], 18);
}

TEST(ServedModel, ClientsThatLeaveStopTheWork) {
  const uint64_t before = demo().model->engine->metrics().requests_cancelled;
  Client client(demo().port());
  const std::string body =
      Json({{"prompt", "Once"}, {"max_tokens", 20000}, {"ignore_eos", true}, {"stream", true}}).dump();
  client.send(request_text("POST", "/v1/completions", body, {{"Content-Type", "application/json"}}));
  ASSERT_TRUE(client.wait_for("data: "));
  client.close();
  EXPECT_TRUE(eventually([&] { return demo().model->engine->metrics().requests_cancelled == before + 1; }));
  EXPECT_TRUE(eventually([&] { return demo().model->engine->metrics().running == 0; }));
}

TEST(ServedModel, RequestsTimeOut) {
  const Answer answer = post(demo().port(), "/v1/completions",
                             {{"prompt", "Once"}, {"max_tokens", 30000}, {"ignore_eos", true}, {"timeout", 0.2}});
  EXPECT_EQ(answer.status, 408);
  EXPECT_EQ(answer.json()["error"]["code"], "timeout");
}

TEST(ServedModelConcurrency, ManyClientsAtOnceGetWhatEachWouldGetAlone) {
  constexpr int kClients = 12;
  std::vector<std::string> expected(kClients);
  const auto body = [](int i) {
    return Json{{"prompt", "Story number " + std::to_string(i)}, {"max_tokens", 12}, {"seed", i}, {"temperature", 1.0}};
  };
  for (int i = 0; i < kClients; ++i) {
    expected[i] = post(demo().port(), "/v1/completions", body(i)).json()["choices"][0]["text"];
  }
  std::vector<std::future<std::string>> answers;
  for (int i = 0; i < kClients; ++i) {
    answers.push_back(std::async(std::launch::async, [&body, i] {
      Json request = body(i);
      if (i % 3 == 0) {  // some leave in the middle
        Client leaving(demo().port());
        request["stream"] = true;
        leaving.send(request_text("POST", "/v1/completions", request.dump(), {{"Content-Type", "application/json"}}));
        leaving.wait_for("data: ");
      }
      request["stream"] = i % 2 == 0;
      const Answer answer = post(demo().port(), "/v1/completions", request);
      if (i % 2 != 0) return answer.json()["choices"][0]["text"].get<std::string>();
      std::string text;
      for (const Json& event : answer.events()) text += event["choices"][0]["text"];
      return text;
    }));
  }
  for (int i = 0; i < kClients; ++i) EXPECT_EQ(answers[i].get(), expected[i]) << i;
  EXPECT_TRUE(eventually([] { return demo().model->engine->metrics().running == 0; }));
}

}  // namespace
}  // namespace bamba::test
