#include "cli/batch_file.h"

#include <bamba/engine.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/fnv.h"
#include "base/hex.h"
#include "base/stopwatch.h"
#include "base/str.h"
#include "cli/batch_journal.h"
#include "cli/interrupt.h"
#include "cli/sequence_print.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

/// A prompt that has ended.
struct Answer {
  size_t index = 0;
  std::map<int64_t, GeneratedSequence> sequences;
  EngineUsage usage;
  std::optional<Error> error;
};

/// Where the engine's thread leaves answers, and counts tokens for the progress bar.
class Answers {
 public:
  void put(Answer answer) {
    {
      const std::lock_guard lock(mutex_);
      answers_.push_back(std::move(answer));
    }
    changed_.notify_one();
  }
  /// Nothing when none came for a while: the caller looks whether Ctrl-C was pressed.
  std::optional<Answer> take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return !answers_.empty(); });
    if (answers_.empty()) return std::nullopt;
    Answer answer = std::move(answers_.back());
    answers_.pop_back();
    return answer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Answer> answers_;
};

class AnswerListener final : public EngineListener {
 public:
  AnswerListener(size_t index, std::shared_ptr<Answers> answers) : answers_(std::move(answers)) {
    answer_.index = index;
  }
  void prompt_done(const EngineUsage& /*usage*/, const std::vector<TokenLogprob>& /*logprobs*/) override {}
  void token(const StreamEvent& /*event*/) override {}
  void sequence_finished(int64_t index, const GeneratedSequence& sequence) override {
    answer_.sequences[index] = sequence;
  }
  void finished(const EngineUsage& usage) override {
    answer_.usage = usage;
    answers_->put(std::move(answer_));
  }
  void failed(const Error& error) override {
    answer_.error = error;
    answers_->put(std::move(answer_));
  }

 private:
  Answer answer_;
  std::shared_ptr<Answers> answers_;
};

/// What the answers depend on; the seed too, unless this run drew it for itself.
std::string inputs_hash(const BatchFileWork& work, const std::vector<GenerationConfig>& configs) {
  Fnv1a hash;
  hash.add(work.model_name);
  hash.add(str(" ", work.json, work.echo, work.seed_given ? work.config.seed : 0, " "));
  for (size_t i = 0; i < configs.size(); ++i) {
    const Prompt& prompt = work.prompts[i];
    hash.add(str(prompt.ids.size(), ' ', prompt.options.seed.value_or(0), ' '));
    hash.add(prompt.ids.data(), prompt.ids.size() * sizeof(prompt.ids[0]));
    if (work.echo) hash.add(prompt.text);
    add_to_hash(hash, configs[i]);
  }
  return hex(hash.value());
}

class BatchFileRun {
 public:
  BatchFileRun(const BatchFileWork& work, const BambaForCausalLM& model, std::shared_ptr<const Tokenizer> tokenizer,
               Output& out)
      : work_(work),
        model_(model),
        tokenizer_(std::move(tokenizer)),
        out_(out),
        configs_(line_configs(work, model.config())),
        outputs_(work.prompts.size()) {}

  ExitCode run() {
    open_journal();
    std::vector<size_t> left;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!outputs_[i]) left.push_back(i);
    }
    const size_t before = outputs_.size() - left.size();
    if (before > 0) {
      print_note(str(before, " of ", outputs_.size(), " prompts are answered in ", partial_path().string(),
                     "; going on with the rest"));
    }
    if (!left.empty()) answer(left);
    if (!journal_ || !interrupted()) print_in_order();
    if (interrupted()) {
      if (journal_) {
        print_note(str(finished(), " of ", outputs_.size(), " prompts are answered and kept in ",
                       partial_path().string(), "; the same command goes on from there"));
      } else {
        print_left();
        out_.flush();
      }
      return ExitCode::interrupted;
    }
    out_.commit();
    if (journal_) journal_->remove();
    return ExitCode::ok;
  }

 private:
  std::filesystem::path partial_path() const { return work_.output + ".partial"; }
  size_t finished() const {
    return static_cast<size_t>(
        std::count_if(outputs_.begin(), outputs_.end(), [](const auto& output) { return output.has_value(); }));
  }

  /// A file that appears when it is complete; pipes and devices take what comes as it comes.
  void open_journal() {
    uint64_t seed = work_.config.seed;
    if (!work_.output.empty() && work_.output != "-") {
      std::error_code ignored;
      const auto status = std::filesystem::status(work_.output, ignored);
      if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) {
        journal_.emplace(partial_path(), inputs_hash(work_, configs_), outputs_.size(), seed);
        outputs_ = journal_->outputs();
        seed = journal_->seed();
      }
    }
    for (size_t i = 0; i < configs_.size(); ++i) {
      configs_[i].seed = work_.prompts[i].options.seed.value_or(seed + i);
    }
  }

  EngineOptions engine_options() const {
    EngineOptions options;
    int64_t sequences = 1;
    int64_t longest = 0;
    for (size_t i = 0; i < configs_.size(); ++i) {
      const GenerationConfig& config = configs_[i];
      sequences = std::max(sequences, config.num_return_sequences);
      const auto length = static_cast<int64_t>(work_.prompts[i].ids.size());
      longest = std::max(longest, length + 256);
      if (config.max_new_tokens) longest = std::max(longest, length + *config.max_new_tokens);
      if (config.max_length) longest = std::max(longest, *config.max_length);
    }
    const auto prompts = std::min<int64_t>(work_.batch_size, static_cast<int64_t>(configs_.size()));
    options.max_sequences = prompts * sequences;
    options.max_queue = window();
    // A text longer than the model was made for is warned about, as everywhere in this program.
    options.max_context = std::max(model_.config().max_position_embeddings, longest);
    return options;
  }
  /// Requests in the engine's hands: enough that it never waits for this thread.
  int64_t window() const { return 2 * work_.batch_size + 16; }

  void answer(const std::vector<size_t>& left) {
    ProgressBar bar(ProgressBar::Unit::count);
    const Stopwatch watch;
    const auto answers = std::make_shared<Answers>();
    Engine engine(model_, tokenizer_, engine_options());
    size_t sent = 0;
    size_t done = 0;
    while (done < left.size() && !interrupted()) {
      while (sent < left.size() && static_cast<int64_t>(sent - done) < window()) submit(engine, left[sent++], answers);
      const EngineMetrics metrics = engine.metrics();
      const double rate = per_second(static_cast<int64_t>(metrics.generated_tokens), watch.seconds());
      bar.update(str(short_number(rate), " tokens/s, prompts"), done, left.size());
      std::optional<Answer> next = answers->take();
      if (!next) continue;
      if (next->error) {
        bar.clear();
        fail(next->error->code(), work_.prompts[next->index].where, ": ", next->error->what());
      }
      keep(*next);
      ++done;
      if (!journal_) print_in_order();
    }
    bar.clear();
    if (work_.timing) print_timing(engine.metrics(), watch.seconds());
  }

  void submit(Engine& engine, size_t index, const std::shared_ptr<Answers>& answers) {
    EngineRequest request;
    request.id = str("prompt ", index);
    request.prompt_ids = work_.prompts[index].ids;
    request.generation = configs_[index];
    try {
      engine.submit(std::move(request), std::make_shared<AnswerListener>(index, answers));
    } catch (const Error& error) {
      fail(error.code(), work_.prompts[index].where, ": ", error.what());
    }
  }

  void keep(const Answer& answer) {
    std::string text;
    for (const auto& [number, sequence] : answer.sequences) text += shown(answer, number, sequence);
    if (journal_) {
      journal_->add(answer.index, text);
    }
    outputs_[answer.index] = std::move(text);
  }

  std::string shown(const Answer& answer, int64_t number, const GeneratedSequence& sequence) const {
    const Prompt& prompt = work_.prompts[answer.index];
    const GenerationConfig& config = configs_[answer.index];
    if (work_.json) {
      GenerateTiming timing;
      timing.prompt_tokens = answer.usage.prompt_tokens - answer.usage.cached_tokens;
      timing.new_tokens = answer.usage.completion_tokens;
      timing.time_to_first_token = answer.usage.time_to_first_token - answer.usage.queue_seconds;
      timing.prompt_seconds = timing.time_to_first_token;
      timing.decode_seconds = answer.usage.decode_seconds;
      const Json times = timing_json(timing, config.num_return_sequences);
      return sequence_json(answer.index, prompt, sequence, config.output_logprobs, times) + "\n";
    }
    std::string text;
    if (work_.prompts.size() > 1 || config.num_return_sequences > 1) {
      text = sequence_header(answer.index, static_cast<size_t>(number), sequence) + "\n";
    }
    if (!tokenizer_) return text + ids_text(sequence) + "\n";
    if (work_.echo) text += prompt.text.empty() ? tokenizer_->decode(prompt.ids, true) : prompt.text;
    return text + sequence.text + "\n";
  }

  void print_in_order() {
    for (; printed_ < outputs_.size() && outputs_[printed_]; ++printed_) out_.write(*outputs_[printed_]);
    out_.flush();
  }
  /// After Ctrl-C: answers whose predecessors are missing.
  void print_left() {
    for (; printed_ < outputs_.size(); ++printed_) {
      if (outputs_[printed_]) out_.write(*outputs_[printed_]);
    }
  }

  void print_timing(const EngineMetrics& metrics, double seconds) const {
    const auto count = [](uint64_t value) { return static_cast<int64_t>(value); };
    print_note(str(finished(), " prompts of ", with_thousands(count(metrics.prompt_tokens)), " tokens (",
                   with_thousands(count(metrics.cached_tokens)), " from the cache) and ",
                   with_thousands(count(metrics.generated_tokens)), " new tokens in ", human_seconds(seconds), ", ",
                   short_number(per_second(count(metrics.generated_tokens), seconds)), " new tokens/s"));
    if (work_.config.do_sample) print_note(str("seed: ", journal_ ? journal_->seed() : work_.config.seed));
  }

  const BatchFileWork& work_;
  const BambaForCausalLM& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Output& out_;
  std::vector<GenerationConfig> configs_;
  std::optional<BatchJournal> journal_;
  std::vector<std::optional<std::string>> outputs_;
  size_t printed_ = 0;
};

}  // namespace

std::vector<GenerationConfig> line_configs(const BatchFileWork& work, const BambaConfig& model_config) {
  std::vector<GenerationConfig> configs;
  for (const Prompt& prompt : work.prompts) {
    GenerationConfig config = work.config;
    prompt.options.overlay(config);
    try {
      config.validate(model_config);
    } catch (const Error& error) {
      fail(error.code(), prompt.where, ": ", error.what());
    }
    if (!config.max_new_tokens && config.max_length && static_cast<int64_t>(prompt.ids.size()) >= *config.max_length) {
      fail(ErrorCode::invalid_argument, prompt.where, ": the prompt has ", prompt.ids.size(),
           " tokens; --max-length counts them and is ", *config.max_length, " (--max-new-tokens does not)");
    }
    configs.push_back(std::move(config));
  }
  return configs;
}

ExitCode run_batch_file(const BatchFileWork& work, const BambaForCausalLM& model,
                        const std::shared_ptr<const Tokenizer>& tokenizer, Output& out) {
  return BatchFileRun(work, model, tokenizer, out).run();
}

}  // namespace bamba::cli
