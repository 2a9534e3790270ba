// Masks of constraints over a vocabulary of Bamba-9B's size (128,256 tokens): made for the first time, made for a state
// whose local part is known, and found again; and what compiling costs.
#include <bamba/constraint.h>
#include <benchmark/benchmark.h>

#include <random>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

namespace bamba {
namespace {

/// Words by pieces as a trained vocabulary has them: 256 bytes, words with and without a space in front, numbers,
/// punctuation, pieces of JSON and code, and characters of other scripts, whole and in parts.
const TokenVocabulary& vocabulary() {
  static const TokenVocabulary made = [] {
    static const char* const kSyllables[] = {"the", "ing",  "er", "tion", "con", "com", "pro", "re", "un",
                                             "pre", "ment", "ly", "ness", "est", "ed",  "in",  "on", "at",
                                             "or",  "ar",   "es", "an",   "st",  "ch",  "sh",  "tr", "gr"};
    static const char* const kEnds[] = {"", "", "", "", "\"", "\":", "\",", ".", ",", "(", "()", ";\n", "=\"", "'s"};
    std::mt19937 random(1);
    std::unordered_set<std::string> seen;
    std::vector<std::string> tokens;
    const auto add = [&](std::string token) {
      if (seen.insert(token).second) tokens.push_back(std::move(token));
    };
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    for (int number = 0; number < 1000; ++number) add(std::to_string(number));
    for (const char* piece : {"{\"",   "\": \"", "\", \"", "\"}",    "\"},",  "[{\"", "\"]",
                              "},\n",  "{\n",    "\":",    "\": ",   ", ",    "\"\"", "true",
                              "false", "null",   " true",  " false", " null", "]}",   "}}"}) {
      add(piece);
    }
    for (size_t n = 1; n <= 80; ++n) add(std::string(n, ' '));
    for (size_t n = 1; n <= 40; ++n) add(std::string(1, '\n').append(n, ' '));
    while (tokens.size() < 128000) {
      std::string token = random() % 2 == 0 ? " " : "";
      if (random() % 8 == 0) {
        for (size_t n = 1 + random() % 3; n > 0; --n) {
          token += static_cast<char>(0xE4 + random() % 5);
          token += static_cast<char>(0x80 + random() % 64);
          token += static_cast<char>(0x80 + random() % 64);
        }
        if (random() % 4 == 0) token.pop_back();
      } else {
        for (size_t n = 1 + random() % 3; n > 0; --n) token += kSyllables[random() % std::size(kSyllables)];
        if (random() % 4 == 0) token[token.size() - 1] = static_cast<char>('a' + random() % 26);
        token += kEnds[random() % std::size(kEnds)];
      }
      add(std::move(token));
    }
    tokens.resize(128256);
    const int64_t eos = 128001;
    return TokenVocabulary(tokens, {&eos, 1});
  }();
  return made;
}

constexpr const char* kPerson =
    R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
        "email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"}},
        "address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}},
        "required":["street","city"]}},"required":["name","age"]})";

void read(ConstraintState& state, std::string_view text) {
  for (const char byte : text) {
    if (!state.accept(static_cast<unsigned char>(byte))) throw std::runtime_error("the text breaks the constraint");
  }
}

enum class Kind { json_object, person, regex };

Constraint make(Kind kind) {
  if (kind == Kind::json_object) return Constraint::json_object(vocabulary());
  if (kind == Kind::person) return Constraint::json_schema(kPerson, vocabulary());
  return Constraint::regex("[A-Z][a-z]{2,30}(?: [A-Z][a-z]+){0,4}\\.", vocabulary());
}

/// The first mask of a new constraint, behind `text`.
void mask_cold(benchmark::State& bench, Kind kind, const char* text) {
  for (auto _ : bench) {
    bench.PauseTiming();
    ConstraintState state(make(kind));
    read(state, text);
    bench.ResumeTiming();
    benchmark::DoNotOptimize(state.mask());
  }
}

/// A state that is new, within a rule whose mask is known: a string in another place.
void mask_of_known_rule(benchmark::State& bench) {
  const Constraint constraint = make(Kind::json_object);
  ConstraintState first(constraint);
  read(first, "{\"a\":\"");
  benchmark::DoNotOptimize(first.mask());
  std::string before = "{\"a\":";
  std::mt19937 random(1);
  for (auto _ : bench) {
    bench.PauseTiming();
    before += random() % 2 == 0 ? "[" : "{\"a\":";
    ConstraintState state(constraint);
    read(state, before + "\"");
    bench.ResumeTiming();
    benchmark::DoNotOptimize(state.mask());
  }
}

void mask_again(benchmark::State& bench, Kind kind, const char* text) {
  ConstraintState state(make(kind));
  read(state, text);
  benchmark::DoNotOptimize(state.mask());
  for (auto _ : bench) benchmark::DoNotOptimize(state.mask());
}

void apply_to_scores(benchmark::State& bench) {
  ConstraintState state(make(Kind::json_object));
  read(state, "{\"a\":\"");
  const auto mask = state.mask();
  std::vector<float> scores(128256, 1.0F);
  for (auto _ : bench) {
    mask->apply(scores);
    benchmark::DoNotOptimize(scores.data());
  }
}

/// Every mask of an answer of 60 bytes, from a new constraint on; a token a byte.
void whole_answer(benchmark::State& bench) {
  const std::string answer = R"({"name": "Ada Lovelace", "age": 36, "tags": ["math", "code"]})";
  for (auto _ : bench) {
    ConstraintState state(make(Kind::person));
    for (const char byte : answer) {
      benchmark::DoNotOptimize(state.mask());
      read(state, {&byte, 1});
    }
  }
  // Shown as seconds a token.
  bench.counters["token"] = benchmark::Counter(
      static_cast<double>(answer.size()), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void compile(benchmark::State& bench, Kind kind) {
  static_cast<void>(vocabulary());  // made once, before the clock runs
  for (auto _ : bench) benchmark::DoNotOptimize(make(kind));
}

BENCHMARK_CAPTURE(compile, json_object, Kind::json_object)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(compile, schema, Kind::person)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(mask_cold, in_string, Kind::json_object, "{\"a\":\"")->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK_CAPTURE(mask_cold, before_value, Kind::json_object, "{\"a\":")->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK_CAPTURE(mask_cold, schema_string, Kind::person, "{\"name\":\"")
    ->Unit(benchmark::kMillisecond)
    ->Iterations(20);
BENCHMARK_CAPTURE(mask_cold, schema_key, Kind::person, "{\"name\":\"A\",")
    ->Unit(benchmark::kMillisecond)
    ->Iterations(20);
BENCHMARK_CAPTURE(mask_cold, regex, Kind::regex, "Abc")->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK(mask_of_known_rule)->Unit(benchmark::kMillisecond)->Iterations(50);
BENCHMARK_CAPTURE(mask_again, in_string, Kind::json_object, "{\"a\":\"")->Unit(benchmark::kMillisecond);
BENCHMARK(apply_to_scores)->Unit(benchmark::kMillisecond);
BENCHMARK(whole_answer)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bamba
