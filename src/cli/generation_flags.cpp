#include "cli/generation_flags.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "base/str.h"
#include "cli/flags.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// No sequence is longer than this; it keeps sums of lengths far from overflow.
constexpr int64_t kMaxLength = int64_t{1} << 40;

template <typename T>
void overlay(T& target, const std::optional<T>& flag) {
  if (flag) target = *flag;
}
template <typename T>
void overlay(std::optional<T>& target, const std::optional<T>& flag) {
  if (flag) target = flag;
}

std::pair<int64_t, double> parse_logit_bias(const std::string& text) {
  const size_t colon = text.find(':');
  int64_t id = -1;
  double bias = std::nan("");
  if (colon != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto [id_end, id_error] = std::from_chars(text.data(), text.data() + colon, id);
    if (id_error != std::errc() || id_end != text.data() + colon) id = -1;
    const char* const value = text.data() + colon + (text[colon + 1] == '+' ? 2 : 1);
    const auto [bias_end, bias_error] = std::from_chars(value, end, bias);
    if (bias_error != std::errc() || bias_end != end) bias = std::nan("");
  }
  if (id < 0 || std::isnan(bias)) {
    fail(ErrorCode::invalid_argument, "--logit-bias: '", text, "' is not ID:VALUE; give one like 42:-1.5");
  }
  return {id, bias};
}

EarlyStopping parse_early_stopping(const std::string& text) {
  if (text == "true") return EarlyStopping::yes;
  return text == "never" ? EarlyStopping::never : EarlyStopping::no;
}

/// A word is banned as it is written and as it reads in the middle of a text, after a space.
void add_bad_word(GenerationConfig& config, const std::string& word, const Tokenizer& tokenizer) {
  for (const std::string& form : {word, " " + word}) {
    std::vector<int64_t> ids = tokenizer.encode(form, false);
    if (!ids.empty()) config.bad_words_ids.push_back(std::move(ids));
  }
}

/// A setting that does nothing is a misunderstanding: say so.
void warn_ineffective(const GenerationFlags& flags, const GenerationConfig& config) {
  const auto warn_unless = [](bool effective, bool given, const char* flag, const char* needs) {
    if (given && !effective) print_warning(str(flag, " has no effect without ", needs));
  };
  const bool sampling = config.do_sample;
  warn_unless(sampling, flags.temperature.has_value(), "--temperature", "--do-sample");
  warn_unless(sampling, flags.top_k.has_value(), "--top-k", "--do-sample");
  warn_unless(sampling, flags.top_p.has_value(), "--top-p", "--do-sample");
  warn_unless(sampling, flags.min_p.has_value(), "--min-p", "--do-sample");
  warn_unless(sampling, flags.typical_p.has_value(), "--typical-p", "--do-sample");
  warn_unless(sampling, flags.epsilon_cutoff.has_value(), "--epsilon-cutoff", "--do-sample");
  warn_unless(sampling, flags.eta_cutoff.has_value(), "--eta-cutoff", "--do-sample");
  warn_unless(sampling, flags.seed.has_value(), "--seed", "--do-sample");
  const bool beams = config.num_beams > 1;
  warn_unless(beams, flags.length_penalty.has_value(), "--length-penalty", "--num-beams above 1");
  warn_unless(beams, flags.early_stopping.has_value(), "--early-stopping", "--num-beams above 1");
}

}  // namespace

void add_length_flags(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Length";
  const auto length = [&](const char* name, std::optional<int64_t>& value, const char* help) {
    command.add_option(name, value, help)->type_name("N")->check(whole_number(0, kMaxLength))->group(group);
  };
  length("-n,--max-new-tokens", flags.max_new_tokens, "New tokens at most (default 256, or generation_config.json)");
  length("--max-length", flags.max_length, "Tokens at most, prompt included");
  length("--min-new-tokens", flags.min_new_tokens, "No end of text before so many new tokens");
  length("--min-length", flags.min_length, "No end of text before so many tokens, prompt included");
  command.add_option("--stop,--stop-strings", flags.stop_strings, "End where this text appears (repeatable)")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(group);
}

void add_sampling_flags(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Sampling";
  const auto real = [&](const char* name, std::optional<double>& value, const char* help, const CLI::Validator& check) {
    command.add_option(name, value, help)->type_name("X")->check(check)->group(group);
  };
  // add_flag would take an optional<bool> for a counter and set it to 0 at once.
  command
      .add_flag_function(
          "--do-sample,!--no-do-sample", [&flags](int64_t count) { flags.do_sample = count > 0; },
          "Draw tokens at random by their probability")
      ->group(group);
  command.add_flag("--greedy", flags.greedy, "Always the most likely token: the same as --no-do-sample")->group(group);
  real("--temperature", flags.temperature, "Divides the scores: below 1 safer, above 1 wilder",
       number(0, kInfinity, Ends::open_low));
  command.add_option("--top-k", flags.top_k, "Only the K likeliest tokens (default 50; 0: all)")
      ->type_name("K")
      ->check(whole_number(0, std::numeric_limits<int32_t>::max()))
      ->group(group);
  real("--top-p", flags.top_p, "Only the likeliest tokens that make up this share of the probability", number(0, 1));
  real("--min-p", flags.min_p, "Only tokens with this share of the likeliest one's probability", number(0, 1));
  real("--typical-p", flags.typical_p, "Locally typical sampling with this share of the probability",
       number(0, 1, Ends::open_low));
  real("--epsilon-cutoff", flags.epsilon_cutoff, "Drop tokens less likely than this", number(0, 1));
  real("--eta-cutoff", flags.eta_cutoff, "Eta sampling's threshold", number(0, 1));
  command.add_option("--seed", flags.seed, "Same seed, same text, on any number of threads (default: a new one)")
      ->type_name("N")
      ->check(whole_number(0))
      ->group(group);

  const std::string penalties = "Penalties and constraints";
  const auto penalty = [&](const char* name, std::optional<double>& value, const char* help,
                           const CLI::Validator& check) {
    command.add_option(name, value, help)->type_name("X")->check(check)->group(penalties);
  };
  penalty("--repetition-penalty", flags.repetition_penalty,
          "Above 1: tokens seen before, in the prompt too, become less likely", number(0, kInfinity, Ends::open_low));
  penalty("--presence-penalty", flags.presence_penalty, "Taken once from the score of tokens generated before",
          number(-kInfinity));
  penalty("--frequency-penalty", flags.frequency_penalty,
          "Taken from a token's score for each time it was generated before", number(-kInfinity));
  command.add_option("--no-repeat-ngram-size", flags.no_repeat_ngram_size, "No N tokens in a row twice (0: off)")
      ->type_name("N")
      ->check(whole_number(0, kMaxLength))
      ->group(penalties);
  command.add_option("--bad-words", flags.bad_words, "Text that is never written (repeatable; needs a tokenizer)")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(penalties);
  command.add_option("--bad-words-ids", flags.bad_words_ids, "Ids that never follow each other (repeatable)")
      ->type_name("1,2,3")
      ->allow_extra_args(false)
      ->group(penalties);
  command.add_option("--logit-bias", flags.logit_bias, "Added to the score of a token (repeatable)")
      ->type_name("ID:VALUE")
      ->allow_extra_args(false)
      ->group(penalties);
}

void add_search_flags(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Beam search and several answers";
  command.add_option("--num-beams", flags.num_beams, "Beams kept; 1 (default): no beam search")
      ->type_name("N")
      ->check(whole_number(1, 4096))
      ->group(group);
  command.add_option("--num-return-sequences", flags.num_return_sequences, "Sequences for each prompt")
      ->type_name("N")
      ->check(whole_number(1, 4096))
      ->group(group);
  command.add_option("--length-penalty", flags.length_penalty, "Score = sum of log-probabilities / length^X")
      ->type_name("X")
      ->check(number(-kInfinity))
      ->group(group);
  command.add_option("--early-stopping", flags.early_stopping, "When beam search ends: true, false or never")
      ->type_name("WHEN")
      ->check(one_of({"true", "false", "never"}))
      ->group(group);
}

void add_token_flags(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Tokens and output";
  const auto token = [&](const char* name, std::optional<int64_t>& value, const char* help) {
    command.add_option(name, value, help)->type_name("ID")->check(whole_number(0))->group(group);
  };
  token("--bos-token-id", flags.bos_token_id, "Begins an empty prompt");
  command.add_option("--eos-token-id", flags.eos_token_id, "Ends a text; several are allowed; '' for none")
      ->type_name("1,2")
      ->group(group);
  token("--pad-token-id", flags.pad_token_id, "Checked and otherwise unused: nothing is padded here");
  token("--forced-bos-token-id", flags.forced_bos_token_id, "The first new token");
  command.add_option("--forced-eos-token-id", flags.forced_eos_token_id, "The last token when the length runs out")
      ->type_name("1,2")
      ->group(group);
  command
      .add_flag("--remove-invalid-values", flags.remove_invalid_values,
                "Go on when scores are NaN or infinite (default: stop with exit code 6)")
      ->group(group);
  command.add_option("--logprobs", flags.logprobs, "Report log-probabilities, with N alternatives a token (--json)")
      ->type_name("N")
      ->check(whole_number(0, 1000))
      ->group(group);
  command
      .add_option("--prefill-chunk", flags.prefill_chunk,
                  "Read prompts in pieces of N tokens (0: at once); results do not depend on it")
      ->type_name("N")
      ->check(whole_number(0, kMaxLength))
      ->group(group);
  command
      .add_flag("--no-generation-config", flags.no_generation_config, "Leave the folder's generation_config.json aside")
      ->group(group);
}

GenerationConfig generation_config(const GenerationFlags& flags, const std::filesystem::path& directory,
                                   const BambaConfig& config, const Tokenizer* tokenizer) {
  GenerationConfig out = flags.no_generation_config ? GenerationConfig::from_model_config(config)
                                                    : GenerationConfig::from_pretrained(directory, config);
  overlay(out.max_new_tokens, flags.max_new_tokens);
  // A length on the command line is meant, whichever of the two the file sets.
  if (flags.max_length && !flags.max_new_tokens) out.max_new_tokens.reset();
  overlay(out.max_length, flags.max_length);
  overlay(out.min_new_tokens, flags.min_new_tokens);
  overlay(out.min_length, flags.min_length);
  if (!flags.stop_strings.empty()) out.stop_strings = flags.stop_strings;
  overlay(out.do_sample, flags.do_sample);
  if (flags.greedy) out.do_sample = false;
  overlay(out.num_beams, flags.num_beams);
  overlay(out.num_return_sequences, flags.num_return_sequences);
  overlay(out.length_penalty, flags.length_penalty);
  if (flags.early_stopping) out.early_stopping = parse_early_stopping(*flags.early_stopping);
  overlay(out.repetition_penalty, flags.repetition_penalty);
  overlay(out.presence_penalty, flags.presence_penalty);
  overlay(out.frequency_penalty, flags.frequency_penalty);
  overlay(out.no_repeat_ngram_size, flags.no_repeat_ngram_size);
  if (!flags.bad_words.empty() && tokenizer == nullptr) {
    fail(ErrorCode::invalid_argument, "--bad-words needs a tokenizer, and the model's folder has none; ",
         "use --bad-words-ids");
  }
  for (const std::string& word : flags.bad_words) add_bad_word(out, word, *tokenizer);
  for (const std::string& ids : flags.bad_words_ids) out.bad_words_ids.push_back(parse_ids(ids, "--bad-words-ids"));
  for (const std::string& item : flags.logit_bias) {
    const auto [id, bias] = parse_logit_bias(item);
    out.logit_bias[id] = bias;
  }
  overlay(out.forced_bos_token_id, flags.forced_bos_token_id);
  if (flags.forced_eos_token_id) {
    out.forced_eos_token_id = parse_ids(*flags.forced_eos_token_id, "--forced-eos-token-id");
  }
  if (flags.remove_invalid_values) out.remove_invalid_values = true;
  overlay(out.temperature, flags.temperature);
  overlay(out.top_k, flags.top_k);
  overlay(out.top_p, flags.top_p);
  overlay(out.min_p, flags.min_p);
  overlay(out.typical_p, flags.typical_p);
  overlay(out.epsilon_cutoff, flags.epsilon_cutoff);
  overlay(out.eta_cutoff, flags.eta_cutoff);
  overlay(out.bos_token_id, flags.bos_token_id);
  overlay(out.pad_token_id, flags.pad_token_id);
  if (flags.eos_token_id) out.eos_token_id = parse_ids(*flags.eos_token_id, "--eos-token-id");
  if (flags.logprobs) {
    out.output_logprobs = true;
    out.top_logprobs = *flags.logprobs;
  }
  overlay(out.prefill_chunk_size, flags.prefill_chunk);
  out.seed = flags.seed ? *flags.seed : std::random_device()();
  warn_ineffective(flags, out);
  return out;
}

}  // namespace bamba::cli
