// Routes, statuses and the shape of errors, over sockets, with an engine that the tests drive.
#include "server/api.h"

#include <gtest/gtest.h>

#include <future>

#include "server/api_fixture.h"

namespace bamba::test {
namespace {

using Json = nlohmann::json;
using server::ApiOptions;

/// The error of an answer, whose shape is checked.
Json error_of(const Answer& answer) {
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  EXPECT_TRUE(answer.headers.contains("x-request-id"));
  const Json body = answer.json();
  EXPECT_EQ(body.size(), 1U);
  const Json& error = body.at("error");
  EXPECT_TRUE(error.at("message").is_string() && !error.at("message").get<std::string>().empty());
  EXPECT_TRUE(error.at("type").is_string());
  EXPECT_TRUE(error.contains("param") && error.contains("code"));
  return error;
}

TEST(Api, UnknownAddressesAre404) {
  ApiServer api;
  for (const char* target : {"/nothing", "/v1", "/v1/", "/v1/completions/", "/../../etc/passwd",
                             "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/index.html", "/v1/models/..",
                             "/v1/models/../../etc/passwd", "//etc/passwd", "/%", "/health%00", "/health/"}) {
    const Answer answer = fetch(api.port(), "GET", target);
    EXPECT_EQ(answer.status, 404) << target;
    error_of(answer);
  }
}

TEST(Api, OtherMethodsAre405) {
  ApiServer api;
  const Answer get = fetch(api.port(), "GET", "/v1/completions");
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(get.headers.at("allow"), "POST, OPTIONS");
  EXPECT_EQ(error_of(get)["code"], "method_not_allowed");
  const Answer deleted = fetch(api.port(), "DELETE", "/v1/models");
  EXPECT_EQ(deleted.status, 405);
  EXPECT_EQ(deleted.headers.at("allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(fetch(api.port(), "HEAD", "/health").status, 200);
  EXPECT_EQ(fetch(api.port(), "BREW", "/health").status, 405);
}

TEST(Api, BodiesMustBeJson) {
  ApiServer api;
  EXPECT_EQ(fetch(api.port(), "POST", "/tokenize", "{}", {{"Content-Type", "text/plain"}}).status, 415);
  EXPECT_EQ(fetch(api.port(), "POST", "/tokenize", "{}").status, 415);
  EXPECT_EQ(
      fetch(api.port(), "POST", "/tokenize", "{}", {{"Content-Type", "application/json"}, {"Content-Encoding", "gzip"}})
          .status,
      415);
  const Headers json = {{"Content-Type", "Application/JSON; charset=utf-8"}};
  EXPECT_EQ(fetch(api.port(), "POST", "/tokenize", R"({"prompt": "a"})", json).status, 200);
  std::string deep = R"({"prompt": )";
  for (int i = 0; i < 100000; ++i) deep += '[';
  const std::vector<std::string> hostile = {"{",
                                            "[]",
                                            "null",
                                            "\"text\"",
                                            deep,
                                            R"({"prompt": "a", "prompt": "b"})",
                                            std::string("{\"prompt\": \"a\0b\"}", 18),
                                            "{\"prompt\": \"\xff\xfe\"}",
                                            "{\"prompt\": \"\xed\xa0\x80\"}",
                                            R"({"prompt": "\ud800"})",
                                            R"({"prompt": NaN})",
                                            R"({"prompt": 1e999})",
                                            R"({"prompt": 123456789012345678901234567890})",
                                            R"({"prompt": [99999999999999999999]})",
                                            R"({"prompt": ["a", 1]})",
                                            R"({"prompt": [1, "a"]})",
                                            R"({"prompt": [[1], 2]})",
                                            R"({"prompt": []})",
                                            R"({"prompt": {}})",
                                            R"({"prompt": [-1]})",
                                            R"({"prompt": [4096]})",
                                            R"({"prompt": [1.5]})",
                                            R"({})"};
  for (const std::string& body : hostile) {
    const Answer answer = fetch(api.port(), "POST", "/v1/completions", body, json);
    EXPECT_EQ(answer.status, 400) << body.substr(0, 100);
    EXPECT_EQ(error_of(answer)["type"], "invalid_request_error");
  }
}

TEST(Api, WrongFieldsAreNamed) {
  ApiServer api;
  const std::vector<std::pair<std::string, Json>> wrong = {{"temperature", -1},
                                                           {"temperature", "hot"},
                                                           {"top_p", 1.5},
                                                           {"top_k", -2},
                                                           {"max_tokens", -1},
                                                           {"max_tokens", 2.5},
                                                           {"max_tokens", 1000},
                                                           {"n", 0},
                                                           {"n", 129},
                                                           {"best_of", 0},
                                                           {"stop", 5},
                                                           {"stop", ""},
                                                           {"stop", Json::array({"a", 1})},
                                                           {"stop", std::vector<std::string>(17, "x")},
                                                           {"seed", "x"},
                                                           {"logit_bias", {{"x", 1}}},
                                                           {"logit_bias", {{"4096", 1}}},
                                                           {"logit_bias", {{"1", 101}}},
                                                           {"logit_bias", Json::array()},
                                                           {"presence_penalty", 3},
                                                           {"frequency_penalty", -3},
                                                           {"repetition_penalty", 0},
                                                           {"logprobs", 21},
                                                           {"echo", 1},
                                                           {"stream", "yes"},
                                                           {"stream_options", {{"include_usage", true}}},
                                                           {"suffix", "end"},
                                                           {"timeout", 0},
                                                           {"priority", 1.5},
                                                           {"model", 5},
                                                           {"min_tokens", 50}};
  for (const auto& [name, value] : wrong) {
    Json body = {{"prompt", "a"}, {"max_tokens", 5}};
    body[name] = value;
    const Answer answer = post(api.port(), "/v1/completions", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(error_of(answer)["param"], name) << answer.body;
  }
  const Answer greedy = post(api.port(), "/v1/completions", {{"prompt", "a"}, {"temperature", 0}, {"n", 2}});
  EXPECT_EQ(error_of(greedy)["param"], "n");
}

TEST(Api, WrongConversationsAreNamed) {
  ApiServer api;
  const std::vector<std::pair<Json, std::string>> wrong = {
      {{{"messages", "hi"}}, "messages"},
      {{{"messages", Json::array()}}, "messages"},
      {{{"messages", Json::array({"hi"})}}, "messages[0]"},
      {{{"messages", {{{"role", "king"}, {"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"role", "user"}}}}}, "messages[0].content"},
      {{{"messages", {{{"role", "user"}, {"content", 5}}}}}, "messages[0].content"},
      {{{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}}, "messages[0].content[0].type"},
      {{{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"tools", {{{"type", "function"}}}}}, "tools"},
      {{{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"top_logprobs", 2}}, "top_logprobs"},
      {{{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"max_completion_tokens", 1000}},
       "max_completion_tokens"}};
  for (const auto& [body, param] : wrong) {
    const Answer answer = post(api.port(), "/v1/chat/completions", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(error_of(answer)["param"], param) << answer.body;
  }
}

TEST(Api, UnknownModelsAre404) {
  ApiServer api;
  const Answer answer = post(api.port(), "/v1/completions", {{"prompt", "a"}, {"model", "gpt-9"}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(error_of(answer)["code"], "model_not_found");
  EXPECT_EQ(fetch(api.port(), "GET", "/v1/models/gpt-9").status, 404);
}

TEST(Api, ModelsAreListed) {
  ApiServer api;
  const Json list = fetch(api.port(), "GET", "/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2U);
  EXPECT_EQ(list["data"][0]["id"], "demo");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 64);
  EXPECT_EQ(fetch(api.port(), "GET", "/v1/models/demo").json()["id"], "demo");
  EXPECT_EQ(fetch(api.port(), "GET", "/v1/models/alias%2Fwith%20slash").json()["id"], "alias/with slash");
}

TEST(Api, TokensGoBothWays) {
  ApiServer api;
  const std::string text = "Once upon a time – żółw";
  const Json tokens = post(api.port(), "/tokenize", {{"prompt", text}, {"add_special_tokens", false}}).json();
  EXPECT_EQ(tokens["tokens"].get<std::vector<int64_t>>(), demo_tokenizer()->encode(text, false));
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(post(api.port(), "/detokenize", {{"tokens", tokens["tokens"]}}).json()["prompt"], text);
  const Json chat = post(api.port(), "/tokenize", {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}}).json();
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  EXPECT_EQ(chat["tokens"].get<std::vector<int64_t>>(),
            demo_tokenizer()->encode(demo_tokenizer()->apply_chat_template(messages), false));
}

TEST(Api, KeysAreAskedFor) {
  ApiOptions options;
  options.keys.add("first-key");
  options.keys.add("second-key");
  ApiServer api(std::move(options));
  for (const char* target : {"/v1/models", "/metrics", "/v1/models/demo"}) {
    EXPECT_EQ(fetch(api.port(), "GET", target).status, 401) << target;
    for (const char* wrong :
         {"Bearer first-ke", "Bearer first-keyx", "Bearer ", "Bearer", "first-key", "Basic first-key"}) {
      const Answer answer = fetch(api.port(), "GET", target, "", {{"Authorization", wrong}});
      EXPECT_EQ(answer.status, 401) << wrong;
      EXPECT_EQ(error_of(answer)["code"], "invalid_api_key");
      EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
    }
    EXPECT_EQ(fetch(api.port(), "GET", target, "", {{"Authorization", "Bearer second-key"}}).status, 200);
    EXPECT_EQ(fetch(api.port(), "GET", target, "", {{"authorization", "bearer first-key"}}).status, 200);
  }
  EXPECT_EQ(fetch(api.port(), "GET", "/health").status, 200);
  EXPECT_EQ(fetch(api.port(), "GET", "/").status, 200);
  EXPECT_EQ(post(api.port(), "/tokenize", {{"prompt", "x"}}).status, 401);
  // Refused before the body is sent.
  Client client(api.port());
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(client.receive().status, 401);
  EXPECT_EQ(api.lines.all().find("first-key"), std::string::npos);
}

TEST(Api, OtherOriginsAreAllowedByChoice) {
  ApiOptions options;
  options.cors_origins = {"https://a.example", "https://b.example"};
  ApiServer some(std::move(options));
  const Answer allowed = fetch(some.port(), "GET", "/health", "", {{"Origin", "https://b.example"}});
  EXPECT_EQ(allowed.headers.at("access-control-allow-origin"), "https://b.example");
  EXPECT_EQ(allowed.headers.at("vary"), "Origin");
  EXPECT_FALSE(fetch(some.port(), "GET", "/health", "", {{"Origin", "https://c.example"}})
                   .headers.contains("access-control-allow-origin"));
  const Answer preflight = fetch(some.port(), "OPTIONS", "/v1/chat/completions", "", {{"Origin", "https://a.example"}});
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-methods"), "POST, OPTIONS");
  // Errors have the headers too, or a page could not read them.
  EXPECT_TRUE(fetch(some.port(), "GET", "/nothing", "", {{"Origin", "https://a.example"}})
                  .headers.contains("access-control-allow-origin"));
  ApiServer none;
  EXPECT_FALSE(fetch(none.port(), "GET", "/health", "", {{"Origin", "https://a.example"}})
                   .headers.contains("access-control-allow-origin"));
  ApiOptions any;
  any.cors_origins = {"*"};
  ApiServer all(std::move(any));
  EXPECT_EQ(fetch(all.port(), "GET", "/health").headers.at("access-control-allow-origin"), "*");
}

TEST(Api, RequestIdsComeBack) {
  ApiServer api;
  EXPECT_EQ(fetch(api.port(), "GET", "/health", "", {{"X-Request-ID", "mine-1"}}).headers.at("x-request-id"), "mine-1");
  const std::string made = fetch(api.port(), "GET", "/health").headers.at("x-request-id");
  EXPECT_TRUE(made.starts_with("req-")) << made;
  EXPECT_NE(
      fetch(api.port(), "GET", "/health", "", {{"X-Request-ID", std::string(200, 'x')}}).headers.at("x-request-id"),
      std::string(200, 'x'));
}

TEST(Api, LoadingAndDrainingAre503) {
  ApiServer api({}, false);
  EXPECT_EQ(fetch(api.port(), "GET", "/health").status, 503);
  EXPECT_EQ(fetch(api.port(), "GET", "/health").json()["status"], "loading");
  const Answer early = post(api.port(), "/v1/completions", {{"prompt", "x"}});
  EXPECT_EQ(early.status, 503);
  EXPECT_EQ(error_of(early)["code"], "loading");
  EXPECT_EQ(early.headers.at("retry-after"), "1");
  EXPECT_EQ(fetch(api.port(), "GET", "/metrics").status, 200);
  api.api.set_model(api.model);
  EXPECT_EQ(fetch(api.port(), "GET", "/health").json()["status"], "ok");
  api.api.set_draining();
  EXPECT_EQ(fetch(api.port(), "GET", "/health").json()["status"], "draining");
  EXPECT_EQ(error_of(post(api.port(), "/v1/completions", {{"prompt", "x"}}))["code"], "draining");
}

TEST(Api, ErrorsOfTheEngineHaveTheirStatus) {
  const std::vector<std::pair<ErrorCode, int>> statuses = {{ErrorCode::busy, 429},
                                                           {ErrorCode::invalid_argument, 400},
                                                           {ErrorCode::out_of_memory, 503},
                                                           {ErrorCode::internal, 500},
                                                           {ErrorCode::non_finite, 500}};
  ApiServer api;
  for (const auto& [code, status] : statuses) {
    api.engine->refuse_with(Error(code, "said the engine"));
    const Answer answer = post(api.port(), "/v1/completions", {{"prompt", "x"}});
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(error_of(answer)["message"], "said the engine");
    EXPECT_EQ(answer.headers.contains("retry-after"), status == 429 || status == 503);
  }
  ApiServer late;
  for (const bool stream : {false, true}) {
    auto answer = std::async([&] {
      return post(late.port(), "/v1/completions", {{"prompt", "x"}, {"stream", stream}});
    });
    late.engine->next().listener->failed(Error(ErrorCode::timeout, "too late"));
    const Answer got = answer.get();
    EXPECT_EQ(got.status, 408);
    EXPECT_EQ(error_of(got)["code"], "timeout");
    EXPECT_EQ(got.headers.at("x-should-retry"), "false");
  }
}

TEST(Api, AnErrorInAStreamIsItsLastEvent) {
  ApiServer api;
  auto answer = std::async([&] { return post(api.port(), "/v1/completions", {{"prompt", "x"}, {"stream", true}}); });
  const auto request = api.engine->next();
  request.listener->prompt_done(ScriptedEngine::usage(request, 0), {});
  StreamEvent event;
  event.text = "beginning";
  request.listener->token(event);
  request.listener->failed(Error(ErrorCode::cancelled, "the engine stops"));
  const Answer got = answer.get();
  EXPECT_EQ(got.status, 200);
  EXPECT_FALSE(got.done());
  EXPECT_EQ(got.events().front()["choices"][0]["text"], "beginning");
  EXPECT_EQ(got.events().back()["error"]["message"], "the engine stops");
}

TEST(Api, AStreamTellsWhatAWholeAnswerTells) {
  ApiServer api;
  for (const bool chat : {false, true}) {
    const std::string target = chat ? "/v1/chat/completions" : "/v1/completions";
    Json body = {{"max_tokens", 5}};
    if (chat) {
      body["messages"] = {{{"role", "user"}, {"content", "Hi"}}};
    } else {
      body["prompt"] = "Hi";
    }
    auto whole_answer = std::async([&] { return post(api.port(), target, body); });
    ScriptedEngine::reply(api.engine->next(), {"One", "", " two", " \"three\"\n"});
    const Json whole = whole_answer.get().json();
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    auto stream_answer = std::async([&] { return post(api.port(), target, body); });
    ScriptedEngine::reply(api.engine->next(), {"One", "", " two", " \"three\"\n"});
    const Answer stream = stream_answer.get();
    EXPECT_EQ(stream.headers.at("content-type"), "text/event-stream");
    EXPECT_TRUE(stream.done());
    std::string text;
    std::string reason;
    for (const Json& event : stream.events()) {
      EXPECT_EQ(event["id"], stream.events()[0]["id"]);
      EXPECT_EQ(event["object"], chat ? "chat.completion.chunk" : "text_completion");
      if (event["choices"].empty()) continue;
      EXPECT_TRUE(event["usage"].is_null());
      const Json& choice = event["choices"][0];
      text += chat ? choice["delta"].value("content", "") : choice["text"].get<std::string>();
      if (!choice["finish_reason"].is_null()) reason += choice["finish_reason"];
    }
    EXPECT_EQ(reason, "stop");
    const Json& choice = whole["choices"][0];
    EXPECT_EQ(text, "One two \"three\"\n");
    EXPECT_EQ(chat ? choice["message"]["content"] : choice["text"], text);
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_EQ(whole["object"], chat ? "chat.completion" : "text_completion");
    EXPECT_EQ(whole["model"], "demo");
    EXPECT_EQ(whole["system_fingerprint"], "bamba-test");
    EXPECT_EQ(whole["usage"]["completion_tokens"], 4);
    EXPECT_EQ(whole["usage"]["total_tokens"], 4 + whole["usage"]["prompt_tokens"].get<int>());
    EXPECT_EQ(stream.events().back()["usage"], whole["usage"]);
    EXPECT_EQ(stream.events().back()["timings"]["predicted_per_second"], 6.0);  // 3 tokens in half a second
    if (chat) {
      EXPECT_EQ(stream.events()[0]["choices"][0]["delta"]["role"], "assistant");
    }
  }
}

TEST(Api, ClientsThatLeaveAreCancelled) {
  ApiServer api;
  for (const bool stream : {false, true}) {
    Client client(api.port());
    const std::string body = Json({{"prompt", "x"}, {"stream", stream}}).dump();
    client.send(request_text("POST", "/v1/completions", body, {{"Content-Type", "application/json"}}));
    const auto request = api.engine->next();
    if (stream) {
      request.listener->prompt_done(ScriptedEngine::usage(request, 0), {});
      StreamEvent event;
      event.text = "first";
      request.listener->token(event);
      EXPECT_TRUE(client.wait_for("first"));
    }
    EXPECT_FALSE(api.engine->cancelled(request.number, 0));
    client.close();
    EXPECT_TRUE(api.engine->cancelled(request.number));
    request.listener->failed(Error(ErrorCode::cancelled, "cancelled"));
  }
  EXPECT_TRUE(eventually([&] {
    const std::string text = fetch(api.port(), "GET", "/metrics").body;
    return text.find("bamba_http_requests_total{route=\"/v1/completions\",status=\"499\"} 2") != std::string::npos;
  }));
}

TEST(Api, ARequestOfManyPromptsFailsAsOne) {
  ApiServer api;
  auto answer = std::async([&] { return post(api.port(), "/v1/completions", {{"prompt", {"a", "b", "c"}}}); });
  const auto first = api.engine->next();
  const auto second = api.engine->next();
  const auto third = api.engine->next();
  ScriptedEngine::reply(first, {"x"});
  second.listener->failed(Error(ErrorCode::out_of_memory, "full"));
  EXPECT_EQ(answer.get().status, 503);
  EXPECT_TRUE(api.engine->cancelled(third.number));
  third.listener->failed(Error(ErrorCode::cancelled, "cancelled"));
}

TEST(Api, TheLogTellsNoSecrets) {
  ApiServer api;
  auto answer = std::async([&] {
    return post(api.port(), "/v1/completions", {{"prompt", "a secret prompt"}}, {{"x-request-id", "the-id"}});
  });
  ScriptedEngine::reply(api.engine->next(), {"a secret", " reply"});
  EXPECT_EQ(answer.get().status, 200);
  fetch(api.port(), "GET", "/a-secret-path");
  EXPECT_TRUE(eventually([&] { return api.lines.all().find("\"status\":404") != std::string::npos; }));
  const std::string log = api.lines.all();
  EXPECT_EQ(log.find("secret"), std::string::npos) << log;
  const Json line = Json::parse(log.substr(0, log.find('\n')));
  EXPECT_EQ(line["id"], "the-id");
  EXPECT_EQ(line["route"], "/v1/completions");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["outcome"], "ok");
  EXPECT_EQ(line["completion_tokens"], 2);
  EXPECT_GT(line["prompt_tokens"], 0);
}

TEST(Api, MetricsAreInPrometheusFormat) {
  ApiServer api;
  fetch(api.port(), "GET", "/health");
  const Answer answer = fetch(api.port(), "GET", "/metrics");
  EXPECT_EQ(answer.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(answer.body.find("\nbamba_generated_tokens_total 12345\n"), std::string::npos);
  EXPECT_NE(answer.body.find("bamba_http_requests_total{route=\"/health\",status=\"200\"} 1\n"), std::string::npos);
  EXPECT_NE(answer.body.find("bamba_time_to_first_token_seconds_bucket{le=\"+Inf\"} 0\n"), std::string::npos);
  // Every sample has a TYPE before it, and no line is odd.
  std::set<std::string> types;
  for (size_t begin = 0; begin < answer.body.size();) {
    const size_t end = answer.body.find('\n', begin);
    const std::string line = answer.body.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with("# TYPE ")) types.insert(line.substr(7, line.find(' ', 7) - 7));
    if (line.starts_with("#")) continue;
    std::string name = line.substr(0, line.find_first_of("{ "));
    for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
      const std::string base = name.substr(0, name.size() - std::min(name.size(), suffix.size()));
      if (name.ends_with(suffix) && types.contains(base)) name = base;
    }
    EXPECT_TRUE(types.contains(name)) << line;
  }
}

TEST(Api, ThePageIsServed) {
  ApiServer api;
  const Answer page = fetch(api.port(), "GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.body.find("</html>"), std::string::npos);
  EXPECT_TRUE(page.headers.contains("content-security-policy"));
  ApiOptions without;
  without.page = false;
  ApiServer bare(std::move(without));
  EXPECT_EQ(fetch(bare.port(), "GET", "/").status, 404);
}

TEST(ApiKeys, AreComparedWhole) {
  using server::equal_in_constant_time;
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("abcabc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", ""));
  server::ApiKeys keys;
  EXPECT_THROW(keys.add(""), Error);
  EXPECT_THROW(keys.add("two words"), Error);
  EXPECT_FALSE(keys.required());
}

}  // namespace
}  // namespace bamba::test
