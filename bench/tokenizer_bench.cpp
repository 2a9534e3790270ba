// Bytes of text encoded a second by one thread, and the time to load a vocabulary of Llama-3's size.
#include <bamba/tokenizer.h>
#include <benchmark/benchmark.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kTextBytes = size_t{4} << 20;

/// English-like text: 30,000 words made of English syllables, drawn by Zipf's law (as words in real text are), with
/// punctuation, capitals and numbers.
const std::string& english_text() {
  static const std::string text = [] {
    static const char* const kSyllables[] = {"the", "ing",  "er",   "tion", "con",  "com", "pro", "re",  "un",
                                             "pre", "ment", "ly",   "ness", "able", "est", "ed",  "in",  "on",
                                             "at",  "or",   "ar",   "es",   "an",   "st",  "ch",  "sh",  "tr",
                                             "gr",  "ough", "ight", "ea",   "ou",   "ver", "der", "ter", "ple"};
    std::mt19937 random(1);
    std::vector<std::string> words = {"the", "of", "and", "to", "a", "in", "is", "that", "was", "for", "it", "with"};
    while (words.size() < 30000) {
      std::string word;
      for (size_t n = 1 + random() % 3; n > 0; --n) word += kSyllables[random() % std::size(kSyllables)];
      words.push_back(word);
    }
    std::vector<double> weights;
    for (size_t i = 0; i < words.size(); ++i) weights.push_back(1.0 / static_cast<double>(i + 1));
    std::discrete_distribution<size_t> pick(weights.begin(), weights.end());
    std::string out;
    bool capital = true;
    while (out.size() < kTextBytes) {
      std::string word = words[pick(random)];
      if (capital) word[0] = static_cast<char>(word[0] - 'a' + 'A');
      out += random() % 50 == 0 ? std::to_string(random() % 3000) : word;
      const unsigned end = static_cast<unsigned>(random() % 100);
      capital = end < 6;
      out += end < 5 ? ". " : end < 6 ? ".\n\n" : end < 13 ? ", " : end < 15 ? "'s " : " ";
    }
    return out;
  }();
  return text;
}

void encode(benchmark::State& state, const char* name, const std::string& text, bool offsets) {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(std::filesystem::path(BAMBA_TEST_DATA) / name);
  size_t tokens = 0;
  for (auto _ : state) {
    tokens = offsets ? tokenizer.encode_with_offsets(text).ids.size() : tokenizer.encode(text).size();
    benchmark::DoNotOptimize(tokens);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["bytes/token"] = static_cast<double>(text.size()) / static_cast<double>(tokens);
}

void encode_english_llama3(benchmark::State& state) {
  encode(state, "tokenizer-llama3", english_text(), false);
}
void encode_english_gpt2(benchmark::State& state) {
  encode(state, "tokenizer-gpt2", english_text(), false);
}
void encode_offsets_llama3(benchmark::State& state) {
  encode(state, "tokenizer-llama3", english_text(), true);
}
void encode_one_letter(benchmark::State& state) {
  encode(state, "tokenizer-llama3", std::string(static_cast<size_t>(state.range(0)), 'a'), false);
}
void encode_spaces(benchmark::State& state) {
  encode(state, "tokenizer-llama3", std::string(static_cast<size_t>(state.range(0)), ' '), false);
}
void encode_cjk(benchmark::State& state) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < static_cast<size_t>(state.range(0))) {
    utf8_append(text, 0x4E00 + static_cast<uint32_t>(random() % 0x5000));
  }
  encode(state, "tokenizer-llama3", text, false);
}

/// The shape of Llama-3's file: 128,000 tokens, 127,744 merges, 256 special tokens.
std::string large_tokenizer_json() {
  std::mt19937 random(2);
  nlohmann::json vocab;
  nlohmann::json merges = nlohmann::json::array();
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    utf8_append(token, byte_level_character(static_cast<unsigned char>(byte)));
    vocab[token] = byte;
    tokens.push_back(token);
  }
  while (tokens.size() < 128000) {
    const std::string& left = tokens[random() % tokens.size()];
    const std::string& right = tokens[random() % tokens.size()];
    const std::string joined = left + right;
    if (joined.size() > 14 || vocab.contains(joined)) continue;
    merges.push_back(left + " " + right);
    vocab[joined] = tokens.size();
    tokens.push_back(joined);
  }
  nlohmann::json json;
  for (int i = 0; i < 256; ++i) {
    json["added_tokens"].push_back(
        {{"id", 128000 + i}, {"content", "<|reserved_" + std::to_string(i) + "|>"}, {"special", true}});
  }
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  json["decoder"] = {{"type", "ByteLevel"}};
  json["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"ignore_merges", true}};
  return json.dump(2);
}

void load_128k(benchmark::State& state) {
  const std::string text = large_tokenizer_json();
  for (auto _ : state) benchmark::DoNotOptimize(parse_tokenizer(text, "tokenizer.json"));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["file_MB"] = static_cast<double>(text.size()) / 1e6;
}

void decode_llama3(benchmark::State& state) {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(std::filesystem::path(BAMBA_TEST_DATA) / "tokenizer-llama3");
  const std::vector<int64_t> ids = tokenizer.encode(english_text());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids, true));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * english_text().size()));
}

BENCHMARK(encode_english_llama3)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_english_gpt2)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_offsets_llama3)->Unit(benchmark::kMillisecond);
// Time over length stays level: nothing here is quadratic.
BENCHMARK(encode_one_letter)->RangeMultiplier(4)->Range(1 << 16, 1 << 22)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_spaces)->RangeMultiplier(4)->Range(1 << 16, 1 << 22)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_cjk)->RangeMultiplier(4)->Range(1 << 16, 1 << 22)->Unit(benchmark::kMillisecond);
BENCHMARK(decode_llama3)->Unit(benchmark::kMillisecond);
BENCHMARK(load_128k)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bamba
