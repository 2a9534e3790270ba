// Files that nobody means well with: each gives one clear error, and none hangs or crashes.
#include <gtest/gtest.h>

#include <functional>

#include "support/error.h"
#include "tokenizer/tokenizer_helpers.h"

namespace bamba {
namespace {

using test::expect_error;

void refuse(ErrorCode code, const std::string& part, const std::function<void(Json&)>& bend) {
  Json json = small_tokenizer_json();
  bend(json);
  expect_error(code, {part}, [&] { (void)make_tokenizer(json); });
}

TEST(HostileTokenizer, BrokenText) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("\xff\xfe"),
        std::string("{\"a\":\"\xff\"}"), std::string(100000, '['), std::string("{\"model\":{\"vocab\":{\"a\":[]}}}"),
        std::string("{\"model\":{\"vocab\":[]}}"), std::string("{\"model\":{\"vocab\":{\"a\":{}}}}"),
        std::string("{\"model\":{\"merges\":[[[\"a\"]]]}}"), std::string("{\"model\":{\"merges\":{}}}"),
        std::string("{\"model\":{\"merges\":[{}]}}"), std::string("{\"model\":[]}"), std::string("{}")}) {
    EXPECT_THROW((void)make_tokenizer(text), Error) << text.substr(0, 60);
  }
  std::string nested;
  for (int i = 0; i < 10000; ++i) nested += "{\"a\":";
  expect_error(ErrorCode::invalid_tokenizer, {"nested deeper"}, [&] { (void)make_tokenizer(nested); });
  const std::string good = small_tokenizer_json().dump();
  for (size_t cut = 0; cut < good.size(); cut += 7) EXPECT_THROW((void)make_tokenizer(good.substr(0, cut)), Error);
  EXPECT_NO_THROW((void)make_tokenizer(good));
}

TEST(HostileTokenizer, VocabularyAndMerges) {
  const auto bad = ErrorCode::invalid_tokenizer;
  refuse(bad, "gives the id 7", [](Json& j) { j["model"]["vocab"]["zz"] = 7; });
  refuse(bad, "ids are whole numbers", [](Json& j) { j["model"]["vocab"]["zz"] = -1; });
  refuse(bad, "ids are whole numbers", [](Json& j) { j["model"]["vocab"]["zz"] = 1.5; });
  refuse(bad, "ids are whole numbers", [](Json& j) { j["model"]["vocab"]["zz"] = uint64_t{1} << 40; });
  refuse(bad, "ids are whole numbers", [](Json& j) { j["model"]["vocab"]["zz"] = "7"; });
  refuse(bad, "are accepted", [](Json& j) { j["model"]["vocab"]["zz"] = 2000000000; });
  refuse(bad, "which model.vocab lacks", [](Json& j) { j["model"]["merges"] = Json::array({"a b"}); });
  refuse(bad, "which model.vocab lacks", [](Json& j) {
    j["model"]["merges"] = Json::array({Json::array({"nope", "a"})});
  });
  for (const Json& merge : {Json("ab"), Json("a b c"), Json({"a"}), Json({"a", "b", "c"}), Json(7), Json({1, 2})}) {
    refuse(bad, "is not a pair", [&](Json& j) { j["model"]["merges"] = Json::array({merge}); });
  }
  refuse(bad, "lacks the object \"vocab\"", [](Json& j) { j["model"].erase("vocab"); });
  refuse(bad, "lacks the array \"merges\"", [](Json& j) { j["model"].erase("merges"); });
  refuse(bad, "unk_token", [](Json& j) { j["model"]["unk_token"] = "<unk>"; });
  expect_error(bad, {"lists the token \"a\" twice"}, [] {
    std::string text = small_tokenizer_json().dump();
    text.insert(text.find("\"a\":"), "\"a\":999,");
    (void)make_tokenizer(text);
  });
}

TEST(HostileTokenizer, AddedTokens) {
  const auto bad = ErrorCode::invalid_tokenizer;
  const auto add = [](Json& j, Json token) { j["added_tokens"].push_back(std::move(token)); };
  refuse(bad, "belongs to", [&](Json& j) { add(j, {{"id", 5}, {"content", "<x>"}}); });
  refuse(bad, "has two ids", [&](Json& j) { add(j, {{"id", 300}, {"content", "a"}}); });
  refuse(bad, "lacks \"id\"", [&](Json& j) { add(j, {{"content", "<x>"}}); });
  refuse(bad, "lacks \"content\"", [&](Json& j) { add(j, {{"id", 300}}); });
  refuse(bad, "is not true or false", [&](Json& j) { add(j, {{"id", 300}, {"content", "<x>"}, {"special", 1}}); });
  refuse(bad, "bytes; 1 to", [&](Json& j) { add(j, {{"id", 300}, {"content", ""}}); });
  refuse(bad, "bytes; 1 to", [&](Json& j) { add(j, {{"id", 300}, {"content", std::string(5000, 'x')}}); });
  refuse(bad, "are accepted", [&](Json& j) { add(j, {{"id", 2147483647}, {"content", "<x>"}}); });
  refuse(bad, "is not an array", [&](Json& j) { j["added_tokens"] = "x"; });
}

TEST(HostileTokenizer, UnsupportedPartsAreNamed) {
  const auto no = ErrorCode::unsupported;
  refuse(no, "NFC", [](Json& j) { j["normalizer"] = {{"type", "NFC"}}; });
  refuse(no, "Metaspace", [](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; });
  refuse(no, "no ByteLevel step", [](Json& j) { j["pre_tokenizer"] = nullptr; });
  refuse(no, "WordPiece", [](Json& j) { j["model"]["type"] = "WordPiece"; });
  refuse(no, "RobertaProcessing", [](Json& j) { j["post_processor"] = {{"type", "RobertaProcessing"}}; });
  refuse(no, "decoder", [](Json& j) { j["decoder"] = {{"type", "WordPiece"}}; });
  refuse(no, "decoder", [](Json& j) { j["decoder"] = nullptr; });
  refuse(no, "dropout", [](Json& j) { j["model"]["dropout"] = 0.1; });
  refuse(no, "byte_fallback", [](Json& j) {
    j["model"]["byte_fallback"] = true;
    j["model"]["vocab"].erase("a");
  });
}

TEST(HostileTokenizer, Templates) {
  const auto bad = ErrorCode::invalid_tokenizer;
  const auto with_id = [](const Json& id) {
    const Json item = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
    const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    const Json b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
    Json json = {{"type", "TemplateProcessing"}};
    json["single"] = Json::array({item, a});
    json["pair"] = Json::array({item, a, b});
    json["special_tokens"] = {{"<s>", {{"id", "<s>"}, {"ids", Json::array({id})}, {"tokens", {"<s>"}}}}};
    return json;
  };
  refuse(bad, "which no token has", [&](Json& j) { j["post_processor"] = with_id(999); });
  refuse(bad, "ids are whole numbers", [&](Json& j) { j["post_processor"] = with_id(-3); });
  refuse(bad, "must hold the sequence A once", [&](Json& j) {
    j["post_processor"] = with_id(1);
    j["post_processor"]["single"] = Json::array();
  });
  refuse(bad, "lacks \"<s>\"", [&](Json& j) {
    j["post_processor"] = with_id(1);
    j["post_processor"]["special_tokens"] = Json::object();
  });
}

Tokenizer with_regex(const std::string& regex) {
  Json json = small_tokenizer_json();
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, json["pre_tokenizer"]}}};
  return make_tokenizer(json);
}

TEST(HostileTokenizer, Regexes) {
  for (const char* broken : {"(", "[a", "a**{", "\\", "(?<x", "\\p{Nope}", "\\p", "[b-a]", "(?'"}) {
    EXPECT_THROW((void)with_regex(broken), Error) << broken;
  }
  for (const char* different :
       {"(*ACCEPT)a", "[a&&b]", "[a[b]]", "a{2,3}+", "\\Ka", "\\C", "\\Qa\\E", "(?~a)", "\\xff", "(?s)a"}) {
    expect_error(ErrorCode::unsupported, {"not supported in split patterns"}, [&] { (void)with_regex(different); });
  }
  EXPECT_THROW((void)with_regex(std::string(70000, 'a')), Error);
  std::string nested;
  for (int i = 0; i < 5000; ++i) nested += '(';
  EXPECT_THROW((void)with_regex(nested), Error);
}

// Exponential and quadratic patterns stop at a step limit, with an error that names the pattern.
TEST(HostileTokenizer, RegexesThatBacktrackForEver) {
  const std::string text(200000, 'a');
  for (const char* regex : {"(a+)+b", "(a|aa)+b", "(a*)*b", "((a?)+)+b"}) {
    expect_error(ErrorCode::invalid_argument, {"gave up"}, [&] { (void)with_regex(regex).encode(text + "cb"); });
  }
}

TEST(HostileTokenizer, ArgumentsAreChecked) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer_json());
  const Ids negative = {5, -1};
  expect_error(ErrorCode::invalid_argument, {"negative"}, [&] { (void)tokenizer.decode(negative); });
  const Ids beyond = {64, 100000, INT64_MAX, 65};
  EXPECT_EQ(tokenizer.decode(beyond), tokenizer.decode(Ids{64, 65}));
  expect_error(ErrorCode::io, {"nowhere"}, [] { (void)Tokenizer::from_pretrained("/nowhere"); });
  EXPECT_FALSE(Tokenizer::exists("/nowhere"));
}

}  // namespace
}  // namespace bamba
