// Properties that hold for any text: round trips, streaming, batches, invalid bytes, and texts made to be slow.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "support/error.h"
#include "tokenizer/clean_up.h"
#include "tokenizer/tokenizer_helpers.h"

namespace bamba {
namespace {

using test::expect_error;

TEST(Tokenizer, RoundTripsAnyText) {
  std::mt19937 random(1);
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random, static_cast<int>(random() % 40));
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text);
    const Encoding encoding = tokenizer.encode_with_offsets(text);
    ASSERT_EQ(encoding.ids, tokenizer.encode(text));
    ASSERT_EQ(encoding.offsets.size(), encoding.ids.size());
    ASSERT_EQ(encoding.type_ids.size(), encoding.ids.size());
    int64_t last = 0;
    for (const auto& [begin, end] : encoding.offsets) {
      ASSERT_LE(begin, end);
      ASSERT_GE(end, last);
      last = end;
    }
    ASSERT_EQ(last, static_cast<int64_t>(utf8_count(text)));
  }
}

TEST(Tokenizer, InvalidBytesBecomeReplacementCharacters) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  // As Python's bytes.decode("utf-8", "replace"): one U+FFFD for each maximal ill-formed part.
  const std::pair<std::string, int> cases[] = {
      {"\xff", 1}, {"\xe6\x97", 1},         {"\xe6\x97x", 1}, {"\xed\xa0\x80", 3}, {"\xf0\x9f\x98", 1}, {"\xc0\x80", 2},
      {"\x80", 1}, {"\xf4\x90\x80\x80", 4}, {"\xe0\x80", 2},  {"\xf0\x9f\xff", 2}, {"\xf5", 1}};
  for (const auto& [bytes, count] : cases) {
    std::string expected = "a";
    for (int i = 0; i < count; ++i) expected += "\xEF\xBF\xBD";
    if (bytes.back() == 'x') expected += "x";
    const std::string text = "a" + bytes;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), expected);
    EXPECT_EQ(tokenizer.encode(text), tokenizer.encode(expected));
    EXPECT_EQ(tokenizer.encode_with_offsets(text).offsets, tokenizer.encode_with_offsets(expected).offsets);
  }
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 30, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(bytes, false)), utf8_replace_invalid(bytes));
  }
}

// Random ids make every kind of broken and split character.
TEST(StreamDecoder, OutputsJoinToDecode) {
  std::mt19937 random(2);
  for (const char* name : {"tokenizer-llama3", "tokenizer-gpt2"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (int i = 0; i < 3000; ++i) {
      Ids ids(random() % 12);
      for (auto& id : ids) {
        id = random() % 2 ? static_cast<int64_t>(random() % 256)
                          : static_cast<int64_t>(random() % static_cast<uint64_t>(tokenizer.vocab_size()));
      }
      if (i % 2) ids = tokenizer.encode(random_text(random, 8));
      const bool skip = random() % 2;
      const bool clean = random() % 2;
      // Every cut: a stream finished early gives what decode gives for that prefix.
      for (size_t cut = 0; cut <= ids.size(); ++cut) {
        StreamDecoder stream(tokenizer, skip, clean);
        std::string text;
        for (size_t k = 0; k < cut; ++k) {
          const std::string part = stream.push(ids[k]);
          ASSERT_TRUE(utf8_valid(part));
          text += part;
        }
        text += stream.finish();
        ASSERT_EQ(text, tokenizer.decode(std::span(ids).first(cut), skip, clean));
      }
    }
  }
}

TEST(StreamDecoder, EmitsCharactersAsSoonAsTheyAreWhole) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer_json());
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x80), "😀");
  EXPECT_EQ(stream.push(0xC3), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push('b'), "b");  // a fresh start
}

TEST(CleanUp, FollowsTransformersRules) {
  EXPECT_EQ(clean_up_tokenization("a . b ? c ! d , e ' f do n't I 'm it 's we 've you 're"),
            "a. b? c! d, e'f don't I'm it's we've you're");
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  const Ids ids = tokenizer.encode("a . b , c", false);
  EXPECT_EQ(tokenizer.decode(ids), "a . b , c") << "tokenizer_config.json's true is ignored for byte-level BPE";
  EXPECT_EQ(tokenizer.decode(ids, false, true), "a. b, c");
}

TEST(Tokenizer, BatchesArePadded) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  const std::vector<std::string> texts = {"Hello world", "", "a", "the quick brown fox jumps"};
  for (const int threads : {1, 3}) {
    for (const PaddingSide side : {PaddingSide::left, PaddingSide::right}) {
      BatchEncodeOptions options;
      options.padding_side = side;
      options.threads = threads;
      options.pad_token_id = 7;
      const BatchEncoding batch = tokenizer.encode_batch(texts, options);
      const int64_t seq = batch.input_ids.dim(1);
      ASSERT_EQ(batch.input_ids.shape(), (Shape{4, seq}));
      ASSERT_EQ(batch.attention_mask.shape(), (Shape{4, seq}));
      int64_t longest = 0;
      for (size_t row = 0; row < texts.size(); ++row) {
        const Ids alone = tokenizer.encode(texts[row]);
        const auto length = static_cast<int64_t>(alone.size());
        longest = std::max(longest, length);
        const int64_t first = side == PaddingSide::left ? seq - length : 0;
        for (int64_t i = 0; i < seq; ++i) {
          const bool real = i >= first && i < first + length;
          const size_t at = row * static_cast<size_t>(seq) + static_cast<size_t>(i);
          EXPECT_EQ(batch.attention_mask.data<int64_t>()[at], real);
          EXPECT_EQ(batch.input_ids.data<int64_t>()[at], real ? alone[static_cast<size_t>(i - first)] : 7);
        }
      }
      EXPECT_EQ(seq, longest);
    }
  }
}

TEST(Tokenizer, BatchTruncationKeepsSpecialTokens) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  const std::vector<std::string> texts = {"the quick brown fox jumps over the lazy dog", "a"};
  BatchEncodeOptions options;
  options.max_length = 4;
  expect_error(ErrorCode::invalid_argument, {"truncation is off"},
               [&] { (void)tokenizer.encode_batch(texts, options); });
  options.truncation = true;
  const BatchEncoding batch = tokenizer.encode_batch(texts, options);
  ASSERT_EQ(batch.input_ids.shape(), (Shape{2, 4}));
  const Ids whole = tokenizer.encode(texts[0]);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(batch.input_ids.data<int64_t>()[i], whole[i]);
  EXPECT_EQ(batch.input_ids.data<int64_t>()[4], *tokenizer.eos_token_id()) << "eos pads where there is no pad token";
  options.max_length = 6;
  options.pad_to_max_length = true;
  EXPECT_EQ(tokenizer.encode_batch(texts, options).input_ids.dim(1), 6);
  options.max_length = 0;
  EXPECT_THROW((void)tokenizer.encode_batch(texts, options), Error);
  options = {};
  options.truncation = true;
  EXPECT_THROW((void)tokenizer.encode_batch(texts, options), Error);
  EXPECT_EQ(tokenizer.encode_batch({}, {}).input_ids.shape(), (Shape{0, 0}));
}

TEST(Tokenizer, SpecialTokensAndLookups) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos_token_id(), 4094);
  EXPECT_EQ(tokenizer.eos_token_id(), 4095);
  EXPECT_EQ(tokenizer.pad_token_id(), std::nullopt);
  EXPECT_EQ(tokenizer.unk_token_id(), std::nullopt);
  EXPECT_EQ(tokenizer.model_max_length(), 262144);
  EXPECT_TRUE(tokenizer.is_special(4095));
  EXPECT_FALSE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(-5));
  EXPECT_EQ(tokenizer.token_to_id("<|end_of_text|>"), 4095);
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(4096), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_bytes(*tokenizer.token_to_id("Ġ")), " ");
}

// A token that a config names but only the vocabulary has is found in text and skipped like other special ones.
TEST(Tokenizer, ConfigNamesMakeTokensSpecial) {
  Json json = small_tokenizer_json();
  json["model"]["vocab"]["<pad>"] = 256;
  const Tokenizer tokenizer =
      make_tokenizer(json, {R"({"pad_token": "<pad>"})", R"({"eos_token": {"content": "a"}})", ""});
  EXPECT_EQ(tokenizer.pad_token_id(), 256);
  EXPECT_TRUE(tokenizer.eos_token_id().has_value());
  EXPECT_EQ(tokenizer.encode("x<pad>"), (Ids{'x', 256}));
  EXPECT_EQ(tokenizer.decode(Ids{'x', 256}, true), "x");
}

// Made so that a quadratic merge loop or a quadratic search would take minutes: they pass the test's time limit only
// when work grows about as the length does.
TEST(Tokenizer, LongTextsWithoutBreaks) {
  const size_t million = 1000000;
  std::string cjk;
  std::string mixed;
  std::mt19937 random(3);
  while (cjk.size() < million) utf8_append(cjk, 0x4E00 + static_cast<uint32_t>(random() % 0x5000));
  while (mixed.size() < million) mixed += static_cast<char>('a' + random() % 4);
  for (const char* name : {"tokenizer-llama3", "tokenizer-gpt2"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string& text : {std::string(million, 'a'), std::string(million, ' '), std::string(million, '\n'),
                                    std::string(million, '!'), std::string(million, ' ') + "x", cjk, mixed}) {
      const std::string decoded = tokenizer.decode(tokenizer.encode(text, false));
      ASSERT_TRUE(decoded == text || decoded == " " + text) << name;  // GPT-2's file asks for add_prefix_space
    }
  }
}

// Heap and scan are two ways to the same merges: a long word's tokens equal those of a slow, obvious loop.
TEST(Tokenizer, LongWordsEqualTheObviousLoop) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-gpt2");
  const Json json = parse_json_file(test::golden_path("tokenizer-gpt2") / "tokenizer.json", ErrorCode::invalid_file);
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (const Json& merge : json["model"]["merges"]) {
    ranks.emplace(std::pair{merge[0].get<std::string>(), merge[1].get<std::string>()}, ranks.size());
  }
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    std::string word;
    const size_t length = 1 + random() % 200;
    while (word.size() < length) word += "etaoinshrd"[random() % 10];
    std::vector<std::string> parts = {"Ġ"};
    for (const char c : word) parts.emplace_back(1, c);
    for (;;) {
      size_t best = parts.size();
      size_t rank = ranks.size();
      for (size_t k = 0; k + 1 < parts.size(); ++k) {
        const auto found = ranks.find({parts[k], parts[k + 1]});
        if (found != ranks.end() && found->second < rank) {
          rank = found->second;
          best = k;
        }
      }
      if (best == parts.size()) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    Ids expected;
    for (const std::string& part : parts) expected.push_back(*tokenizer.token_to_id(part));
    ASSERT_EQ(tokenizer.encode(word, false), expected) << word;
  }
}

TEST(Tokenizer, ManyThreadsShareOne) {
  const Tokenizer tokenizer = golden_tokenizer("tokenizer-llama3");
  std::mt19937 random(5);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(random_text(random, 30));
    expected.push_back(golden_tokenizer("tokenizer-llama3").encode(texts.back()));
  }
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, copy = tokenizer] {
      for (size_t i = 0; i < texts.size(); ++i) wrong += copy.encode(texts[i]) != expected[i];
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace bamba
