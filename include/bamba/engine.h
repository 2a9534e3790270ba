// Engine: many requests on one model at once, and a cache of sequence states that makes shared beginnings free.
//
// One thread of the engine's own advances all requests together, step by step: each step is one ragged batch of the
// sequences that decode and of pieces of the prompts that are being read. On the CPU, a request's result is bit for bit
// what generate() returns for it alone: whatever runs beside it, however its prompt was cut, and whether or not its
// beginning came from the cache. On CUDA that holds with RunOptions::bit_exact.
#pragma once

#include <bamba/error.h>
#include <bamba/generation.h>
#include <bamba/model.h>
#include <bamba/tokenizer.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace bamba {

/// Bounds of an engine. Bytes count SSM states, convolution windows and the pages of keys and values.
struct EngineOptions {
  int64_t max_sequences = 64;  ///< that advance together in one step
  /// Tokens of one step, decoding and pieces of prompts together; 0: 256 on the CPU, 2048 on CUDA. A larger step reads
  /// prompts a little faster, a smaller one lets tokens of others come more evenly.
  int64_t step_tokens = 0;
  int64_t max_queue = 256;   ///< requests that wait; one more is refused with Error(busy)
  int64_t max_context = 0;   ///< tokens of a prompt with its reply; 0: the model's max_position_embeddings
  size_t running_bytes = 0;  ///< states of the requests that run; 0: half of the memory that is free at the start
  size_t cache_bytes = 0;    ///< snapshots in memory; 0: a quarter of the memory that is free at the start
  /// Snapshots of requests that had to make way; 0: as much as running_bytes, on the CPU a quarter of that.
  size_t host_bytes = 0;
  bool cache = true;                ///< off: every prompt is read from its first token
  int64_t cache_stride = 2048;      ///< long prompts leave a snapshot every so many tokens; 0: none of these
  std::filesystem::path state_dir;  ///< snapshots are kept here too and found again after a restart; empty: nowhere
  uint64_t state_dir_bytes = uint64_t{16} << 30;
};

/// One prompt, continued `generation.num_return_sequences` times. num_beams must be 1.
struct EngineRequest {
  std::string id;  ///< for messages and logs
  std::vector<int64_t> prompt_ids;
  GenerationConfig generation;
  /// Sequences made, of which the num_return_sequences with the highest mean log-probability are returned; they are
  /// then not streamed. 0: as many as are returned.
  int64_t best_of = 0;
  int priority = 0;  ///< of those that wait the highest starts first; a higher one may make a lower one give way
  /// Called once for each sequence: a processor after the built-in ones (a Constraint's, say). Empty: none.
  std::function<LogitsProcessor()> new_processor;
  /// Log-probabilities of the prompt's own tokens from the second on (with generation.top_logprobs alternatives). Such
  /// a prompt is read whole: no snapshot can stand in for it.
  bool prompt_logprobs = false;
  /// Lengths at which the prompt is likely to be left by others (the end of a system prompt, of each message): a
  /// snapshot is kept there. In any order; those out of range are ignored.
  std::vector<int64_t> cache_points;
  std::optional<double> timeout_seconds;  ///< from submit() on; past it the request fails with Error(timeout)
};

/// What a request came to.
struct EngineUsage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;      ///< of these, how many a snapshot held
  int64_t completion_tokens = 0;  ///< chosen, in all sequences made
  double queue_seconds = 0;
  double time_to_first_token = 0;  ///< seconds from submit()
  double decode_seconds = 0;       ///< from the first token to the last
};

/// Hears of one request. Called from the engine's thread, one call at a time; must not throw and should not wait:
/// every other request waits with it. May call Engine::cancel. The last call is finished() or failed().
class EngineListener {
 public:
  EngineListener() = default;
  virtual ~EngineListener() = default;
  EngineListener(const EngineListener&) = delete;
  EngineListener& operator=(const EngineListener&) = delete;

  /// The prompt has been read. `logprobs` has an entry for each prompt token but the first, with prompt_logprobs.
  virtual void prompt_done(const EngineUsage& usage, const std::vector<TokenLogprob>& logprobs) = 0;
  /// A token of one sequence, as in GenerateOptions::stream (prompt_index is 0). Not with best_of.
  virtual void token(const StreamEvent& event) = 0;
  /// A sequence has ended, in the order of ending; with best_of all at the end, the best first. sequence_index counts
  /// from 0 (with best_of: by rank).
  virtual void sequence_finished(int64_t sequence_index, const GeneratedSequence& sequence) = 0;
  virtual void finished(const EngineUsage& usage) = 0;
  /// Error(cancelled) after Engine::cancel or when the engine stops, Error(timeout), Error(out_of_memory),
  /// Error(non_finite), or what a processor threw. Nothing follows.
  virtual void failed(const Error& error) = 0;
};

/// Counts of durations, as Prometheus has them: bucket i counts those of at most bounds[i] seconds.
struct DurationHistogram {
  static constexpr std::array<double, 14> bounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                    0.25,  0.5,    1,     2.5,  5,     10,   30};
  std::array<uint64_t, bounds.size()> counts{};  ///< cumulative
  uint64_t count = 0;
  double sum = 0;  ///< seconds
  void add(double seconds);
};

/// Of an engine since its start. "now" marks what rises and falls.
struct EngineMetrics {
  int64_t waiting = 0;    ///< now: requests in the queue
  int64_t running = 0;    ///< now: requests that read or write
  int64_t sequences = 0;  ///< now: sequences of these
  int64_t preempted = 0;  ///< now: requests that made way
  uint64_t requests_finished = 0;
  uint64_t requests_cancelled = 0;
  uint64_t requests_failed = 0;
  uint64_t requests_refused = 0;  ///< queue full, or larger than the bounds allow
  uint64_t preemptions = 0;
  uint64_t recomputations = 0;  ///< preempted requests that had to be read again
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;     ///< of prompts begun
  uint64_t cached_tokens = 0;     ///< of these, from snapshots
  uint64_t prefill_tokens = 0;    ///< run through the model as prompts
  uint64_t generated_tokens = 0;  ///< chosen
  double step_seconds = 0;        ///< of all steps, whole
  double model_seconds = 0;       ///< of these, inside the model's forward
  int64_t last_batch_tokens = 0;  ///< of the last step
  int64_t last_batch_sequences = 0;
  size_t running_bytes = 0;      ///< now
  size_t host_bytes = 0;         ///< now: of requests that made way
  size_t cache_bytes = 0;        ///< now
  uint64_t cache_snapshots = 0;  ///< now, in memory
  uint64_t cache_hits = 0;       ///< prompts that began at a snapshot
  uint64_t cache_misses = 0;
  uint64_t cache_evictions = 0;
  uint64_t disk_bytes = 0;      ///< now
  uint64_t disk_snapshots = 0;  ///< now
  uint64_t disk_hits = 0;       ///< of the hits, those read from disk
  uint64_t disk_rejected = 0;   ///< files found damaged or of another model, and removed
  DurationHistogram queue_time;
  DurationHistogram time_to_first_token;
  DurationHistogram inter_token;
};

/// See the top of this file. All functions may be called from any thread.
class Engine {
 public:
  /// `tokenizer` (may be null: no texts, no stop strings) is shared. Throws Error(invalid_argument) for options out of
  /// range, Error(io) when state_dir cannot be used.
  Engine(BambaForCausalLM model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options = {});
  /// Cancels what is left and waits for its end; but in a call of a listener, which may be what held the engine last,
  /// it returns at once.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Queues a request; returns a number for cancel(). Throws Error(invalid_argument) as generate() does, and when the
  /// prompt with its reply cannot fit max_context or running_bytes; Error(busy) when the queue is full or the engine
  /// is draining.
  uint64_t submit(EngineRequest request, std::shared_ptr<EngineListener> listener);
  /// The request ends before the next step, wherever it stands; unknown and ended numbers are ignored.
  void cancel(uint64_t request);
  /// No new requests from now on; returns true when all have ended, false after `seconds`: what then still runs is
  /// failed with Error(cancelled), its states go to the cache, and all of the cache that is not yet on disk goes there.
  bool drain(double seconds);

  const BambaForCausalLM& model() const;
  const EngineOptions& options() const;  ///< with the defaults filled in
  EngineMetrics metrics() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bamba
