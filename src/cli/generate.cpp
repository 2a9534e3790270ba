// bamba generate: text from prompts.
#include <bamba/generation.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <memory>

#include "base/str.h"
#include "cli/batch_file.h"
#include "cli/commands.h"
#include "cli/constraint_flags.h"
#include "cli/flags.h"
#include "cli/generation_flags.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "cli/sequence_print.h"
#include "cli/session.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

struct GenerateFlags {
  ModelFlags model;
  GenerationFlags generation;
  ConstraintFlags constraint;
  PromptFlags prompts;
  int64_t batch_size = 16;
  std::string output, save_state, load_state;
  bool json = false, timing = false, echo = false;
};

/// Sequences whose first token came with the prompt: decode_seconds are for the tokens after these.
int64_t first_tokens(const GenerateResult& result, const GenerationConfig& config) {
  const auto sequences = static_cast<int64_t>(result.sequences.size());
  // Beam search counts its steps, one of which comes with each prompt.
  return config.num_beams == 1 ? sequences : sequences / std::max<int64_t>(1, config.num_return_sequences);
}

void print_timing(const GenerateTiming& timing, int64_t first, const GenerationConfig& config) {
  print_note(str("prompt: ", timing.prompt_tokens, " tokens in ", human_seconds(timing.prompt_seconds), ", ",
                 short_number(per_second(timing.prompt_tokens, timing.prompt_seconds)), " tokens/s"));
  print_note(str("time to first token: ", human_seconds(timing.time_to_first_token)));
  print_note(str("new: ", timing.new_tokens, " tokens in ", human_seconds(timing.decode_seconds), ", ",
                 short_number(per_second(timing.new_tokens - first, timing.decode_seconds)), " tokens/s"));
  if (config.do_sample) print_note(str("seed: ", config.seed));
}

/// Text that goes on from a state gets no beginning-of-text token: it would be read as a new text.
PromptFlags prompt_flags(const GenerateFlags& flags) {
  PromptFlags prompts = flags.prompts;
  if (!flags.load_state.empty()) prompts.add_special_tokens = false;
  return prompts;
}

/// Loads once, then runs prompts batch by batch.
class Generator {
 public:
  explicit Generator(const GenerateFlags& flags)
      : flags_(flags),
        directory_(model_directory(flags.model)),
        tokenizer_(shared_tokenizer(flags.model)),
        model_config_(BambaConfig::from_pretrained(directory_)),
        prompts_(read_prompts(prompt_flags(flags), tokenizer(), directory_, model_config_.vocab_size)),
        config_(generation_config(flags.generation, directory_, model_config_, tokenizer())),
        constraint_(read_constraint(flags.constraint, flags.model, tokenizer(), config_.eos_token_id)),
        model_(load_checked()),
        out_(flags.output) {}

  ExitCode run() {
    if (!flags_.load_state.empty()) resume();
    if (config_.max_new_tokens == 0) return read_only();
    if (engine_runs()) return run_batch_file(batch_work(), model_, tokenizer_, out_);
    config_.validate(model_.config());
    check_lengths();
    const size_t batch = prompts_.size() == 1 ? 1 : static_cast<size_t>(flags_.batch_size);
    for (size_t first = 0; first < prompts_.size() && !interrupted(); first += batch) {
      run_batch(first, std::min(batch, prompts_.size() - first));
    }
    out_.commit();
    if (flags_.timing) print_timing(total_, first_tokens_, config_);
    return interrupted() ? ExitCode::interrupted : ExitCode::ok;
  }

 private:
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  bool keeps_state() const { return !flags_.save_state.empty() || !flags_.load_state.empty(); }

  static std::shared_ptr<const Tokenizer> shared_tokenizer(const ModelFlags& flags) {
    auto tokenizer = load_tokenizer(flags);
    return tokenizer ? std::make_shared<const Tokenizer>(std::move(*tokenizer)) : nullptr;
  }

  /// Beams are not for the engine.
  bool engine_runs() const { return !flags_.prompts.batch_file.empty() && config_.num_beams == 1 && !keeps_state(); }
  BatchFileWork batch_work() const {
    const ModelFlags& model = flags_.model;
    return {.prompts = prompts_,
            .config = config_,
            .seed_given = flags_.generation.seed.has_value(),
            .batch_size = flags_.batch_size,
            .output = flags_.output,
            .model_name = str(std::filesystem::absolute(directory_).lexically_normal().string(), ' ', model.device, ' ',
                              model.weights, ' ', model.kv, ' ', model.activations, ' ', model.scan, ' ',
                              model_config_.to_json()),
            .json = flags_.json,
            .echo = flags_.echo,
            .timing = flags_.timing};
  }

  /// What can be refused is refused before the weights are read.
  BambaForCausalLM load_checked() const {
    check_state_flags();
    if (engine_runs() && config_.max_new_tokens != 0) {
      static_cast<void>(line_configs(batch_work(), model_config_));
      for (const Prompt& prompt : prompts_) {
        if (prompt.options.stop && !tokenizer_) require_tokenizer(flags_.model, "\"stop\"");
      }
    } else if (std::ranges::any_of(prompts_, [](const Prompt& prompt) { return !prompt.options.empty(); })) {
      fail(ErrorCode::invalid_argument, "lines of a batch file cannot set options of their own with --num-beams");
    }
    if (!config_.stop_strings.empty() && !tokenizer_) require_tokenizer(flags_.model, "--stop");
    if (!flags_.save_state.empty()) check_writable(flags_.save_state);
    return load_model(flags_.model);
  }

  void check_state_flags() const {
    if (config_.max_new_tokens == 0 && flags_.save_state.empty()) {
      fail(ErrorCode::invalid_argument, "--max-new-tokens: 0 is only of use with --save-state; give 1 or more");
    }
    if (!keeps_state()) return;
    if (prompts_.size() != 1 || config_.num_beams != 1 || config_.num_return_sequences != 1) {
      fail(ErrorCode::invalid_argument, "--save-state and --load-state go with one prompt, one beam and one sequence");
    }
  }

  /// All prompts before the first is run: an error must not throw away what others have already got.
  void check_lengths() const {
    if (config_.max_new_tokens || !config_.max_length) return;
    for (const Prompt& prompt : prompts_) {
      if (static_cast<int64_t>(prompt.ids.size()) < *config_.max_length) continue;
      fail(ErrorCode::invalid_argument, prompt.where, ": the prompt has ", prompt.ids.size(),
           " tokens; --max-length counts them and is ", *config_.max_length, " (--max-new-tokens does not)");
    }
  }

  void resume() {
    session_ = load_session(flags_.load_state, model_.model());
    std::vector<int64_t> ids = session_.ids;
    ids.insert(ids.end(), prompts_[0].ids.begin(), prompts_[0].ids.end());
    if (static_cast<int64_t>(ids.size()) <= session_.state.length()) {
      fail(ErrorCode::invalid_argument, flags_.load_state,
           ": the text in this state had ended; give a prompt to go on");
    }
    prompts_[0].ids = std::move(ids);
  }

  /// -n 0 --save-state: all but the last token go into the state, so that whoever loads it has a token to start from.
  ExitCode read_only() {
    std::vector<int64_t>& ids = prompts_[0].ids;
    if (ids.empty()) fail(ErrorCode::invalid_argument, "the prompt holds no token");
    if (!session_.state) session_.state = model_.new_state();
    ProgressBar bar(ProgressBar::Unit::count);
    const auto total = static_cast<int64_t>(ids.size()) - 1;
    constexpr int64_t kPiece = 512;
    for (int64_t begin = session_.state.length(); begin < total; begin += kPiece) {
      throw_if_interrupted();
      SequenceInput input;
      input.state = &session_.state;
      input.input_ids =
          std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(kPiece, total - begin)));
      input.logits = LogitsToKeep::none;
      static_cast<void>(model_.forward({&input, 1}));
      bar.update("reading", static_cast<uint64_t>(session_.state.length()), static_cast<uint64_t>(total));
    }
    session_.ids = ids;
    save_session(flags_.save_state, session_);
    out_.commit();
    return ExitCode::ok;
  }

  /// One sequence that nothing can change any more is shown as it grows.
  bool streams() const {
    return prompts_.size() == 1 && config_.num_beams == 1 && config_.num_return_sequences == 1 && !flags_.json &&
           (flags_.output.empty() || flags_.output == "-") && tokenizer_;
  }

  std::string echo_text(const Prompt& prompt) const {
    if (!flags_.echo) return {};
    if (!prompt.text.empty() && flags_.load_state.empty()) return prompt.text;
    return tokenizer_ ? tokenizer_->decode(prompt.ids, true) : std::string();
  }

  void run_batch(size_t first, size_t count) {
    std::vector<std::vector<int64_t>> ids;
    for (size_t i = first; i < first + count; ++i) ids.push_back(prompts_[i].ids);

    GenerateOptions options;
    options.tokenizer = tokenizer();
    options.cancel = &interrupt_flag();
    options.constraint = constraint_;
    if (keeps_state()) {
      if (!session_.state) session_.state = model_.new_state();
      options.states = {&session_.state, 1};
    }
    ProgressBar bar(ProgressBar::Unit::count);
    options.prompt_progress = [&](int64_t done, int64_t total) {
      bar.update("reading", static_cast<uint64_t>(done), static_cast<uint64_t>(total));
      if (done >= total) bar.clear();
    };
    // Exceptions do not travel through the library: the stream stops and they go on from here.
    std::exception_ptr stream_error;
    char last = '\n';
    const bool streaming = streams();
    if (streaming) {
      const std::string prompt = echo_text(prompts_[first]);
      out_.write(prompt);
      out_.flush();
      options.stream = [&](const StreamEvent& event) {
        try {
          if (event.text.empty()) return true;
          out_.write(event.text);
          out_.flush();
          last = event.text.back();
          return true;
        } catch (...) {
          stream_error = std::current_exception();
          return false;
        }
      };
    }
    const GenerateResult result = generate(model_, ids, config_, options);
    if (stream_error) std::rethrow_exception(stream_error);
    if (streaming) {
      if (last != '\n') out_.write("\n");
    } else {
      for (size_t i = 0; i < result.sequences.size(); ++i) print_sequence(result, i, first);
    }
    out_.flush();
    add_timing(result);
    if (!flags_.save_state.empty()) keep_state(result.sequences.front());
  }

  void keep_state(const GeneratedSequence& sequence) {
    session_.ids = prompts_[0].ids;
    session_.ids.insert(session_.ids.end(), sequence.ids.begin(), sequence.ids.end());
    // The end-of-text token was never read: without it, the text can go on.
    const auto consumed = static_cast<size_t>(session_.state.length());
    if (sequence.finish_reason == FinishReason::eos && session_.ids.size() > consumed) session_.ids.pop_back();
    save_session(flags_.save_state, session_);
  }

  void print_sequence(const GenerateResult& result, size_t i, size_t first_prompt) {
    const GeneratedSequence& sequence = result.sequences[i];
    const size_t index = first_prompt + static_cast<size_t>(sequence.prompt_index);
    const Prompt& prompt = prompts_[index];
    if (flags_.json) {
      const Json timing = timing_json(result.timing, first_tokens(result, config_));
      out_.line(sequence_json(index, prompt, sequence, config_.output_logprobs, timing));
      return;
    }
    const auto returned = static_cast<size_t>(config_.num_return_sequences);
    if (prompts_.size() > 1 || returned > 1) {
      size_t number = 0;  // among the sequences of this prompt
      while (number < i && result.sequences[i - number - 1].prompt_index == sequence.prompt_index) ++number;
      out_.line(sequence_header(index, number, sequence));
    }
    if (tokenizer_) {
      out_.line(echo_text(prompt) + sequence.text);
      return;
    }
    out_.line(ids_text(sequence));
  }

  void add_timing(const GenerateResult& result) {
    const GenerateTiming& timing = result.timing;
    first_tokens_ += first_tokens(result, config_);
    if (total_.prompt_tokens == 0) total_.time_to_first_token = timing.time_to_first_token;
    total_.prompt_tokens += timing.prompt_tokens;
    total_.new_tokens += timing.new_tokens;
    total_.prompt_seconds += timing.prompt_seconds;
    total_.decode_seconds += timing.decode_seconds;
  }

  const GenerateFlags& flags_;
  std::filesystem::path directory_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  BambaConfig model_config_;
  std::vector<Prompt> prompts_;
  GenerationConfig config_;
  std::optional<Constraint> constraint_;
  BambaForCausalLM model_;
  Output out_;
  Session session_;
  GenerateTiming total_;
  int64_t first_tokens_ = 0;
};

}  // namespace

void add_generate(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App& command = *program.add_subcommand("generate", "Write on from a prompt");
  add_model_flag(command, flags->model);
  const auto prompt = command
                          .add_option("-p,--prompt", flags->prompts.texts,
                                      "The prompt (repeatable: several prompts run as one batch). Default: stdin, "
                                      "its last line feed dropped")
                          ->type_name("TEXT")
                          ->allow_extra_args(false);
  const auto ids = command.add_option("--ids", flags->prompts.ids, "The prompt as token ids (repeatable)")
                       ->type_name("1,2,3")
                       ->allow_extra_args(false)
                       ->excludes(prompt);
  command
      .add_option(
          "--batch-file", flags->prompts.batch_file,
          "Prompts from a file, - for stdin: lines of {\"prompt\": \"...\"} or {\"ids\": [...]}, which may also "
          "set max_new_tokens, n, do_sample, temperature, top_k, top_p, min_p, seed, stop")
      ->type_name("F.jsonl")
      ->excludes(prompt)
      ->excludes(ids);
  command.add_option("--batch-size", flags->batch_size, "Prompts that run together (default 16)")
      ->type_name("N")
      ->check(whole_number(1, 65536));
  command.add_flag("--special-tokens,!--no-special-tokens", flags->prompts.add_special_tokens,
                   "Add the tokens that begin a text (default), or not");
  command.add_option("-o,--output", flags->output, "Write here instead of to stdout (complete or not at all)")
      ->type_name("FILE");
  command.add_flag("--json", flags->json, "One JSON object a line for each sequence");
  command.add_flag("--echo", flags->echo, "Print the prompt before the text");
  command.add_flag("--timing", flags->timing, "Tokens per second and time to first token on stderr");
  command
      .add_option("--save-state", flags->save_state,
                  "Keep what the model has read and written (with -n 0: only reads the prompt)")
      ->type_name("FILE");
  command.add_option("--load-state", flags->load_state, "Go on from there: the prompt is added to that text")
      ->type_name("FILE");
  add_length_flags(command, flags->generation);
  add_sampling_flags(command, flags->generation);
  add_constraint_flags(command, flags->constraint);
  add_search_flags(command, flags->generation);
  add_token_flags(command, flags->generation);
  add_run_flags(command, flags->model);
  command.footer(
      "Defaults come from DIR/generation_config.json. Ctrl-C stops; what was written stays. With --batch-file and -o "
      "FILE, answers are kept in FILE.partial until all are there: the same command goes on where it stopped.\n\n"
      "Examples:\n"
      "  bamba generate -p \"Once upon a time\"                      the demo model writes on\n"
      "  bamba generate -p \"The sea\" --do-sample --top-p 0.9 --seed 7 -n 100 --timing\n"
      "  bamba generate -p \"The sea\" --num-beams 4 --num-return-sequences 2 --json\n"
      "  bamba generate -p \"Tim is \" --regex \"[0-9]{1,2} years old\\.\"\n"
      "  bamba generate -m DIR --json-schema person.json < question.txt\n"
      "  bamba generate -m DIR --batch-file prompts.jsonl --json -o answers.jsonl\n"
      "  bamba generate -m DIR -n 0 --save-state book.state < book.txt   read a long text once ...\n"
      "  bamba generate -m DIR --load-state book.state -p \"In short:\"    ... and go on from it any time");
  command.callback([flags, &chosen] { chosen = [flags] { return Generator(*flags).run(); }; });
}

}  // namespace bamba::cli
