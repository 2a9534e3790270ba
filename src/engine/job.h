// A request inside the engine, from submit() to its last call of the listener.
#pragma once

#include <bamba/engine.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "engine/cut_points.h"
#include "generation/chooser.h"

namespace bamba {

struct Job {
  uint64_t number = 0;  ///< in the order of submit()
  EngineRequest request;
  std::shared_ptr<EngineListener> listener;
  GenerationConfig config;  ///< the request's; with log-probabilities where best_of ranks by them
  StopRules rules;
  std::vector<int64_t> prompt;
  int64_t max_length = 0;
  int64_t count = 1;  ///< sequences made
  double submitted_at = 0;
  double deadline = std::numeric_limits<double>::infinity();

  // From the first start on.
  bool started = false;
  bool forked = false;                             ///< the prompt is read, each sequence has its own state
  bool preempted = false;                          ///< waits, having made way
  bool ended = false;                              ///< the listener heard its last call
  std::vector<HostSnapshot> aside;                 ///< of a preempted one, a state a sequence; empty: they were dropped
  std::vector<LogitsProcessor> processors;         ///< one a sequence, or none
  std::vector<std::unique_ptr<Chooser>> choosers;  ///< one a sequence where each has a processor, else one for all
  std::vector<Sequence> sequences;                 ///< one before the fork, then `count`
  std::vector<double> token_times;                 ///< when each sequence got its last token
  std::vector<CutPoint> cuts;                      ///< of the prompt, rising: pieces end there
  uint64_t leader = 0;                             ///< a request that reads the same beginning; 0: none
  int64_t leader_length = 0;    ///< this one waits until the leader has read so much, and goes on from its snapshot
  int64_t snapshot_length = 0;  ///< of the longest snapshot known to be in the cache
  std::vector<TokenLogprob> prompt_logprobs;
  std::vector<GeneratedSequence> held_back;  ///< with best_of, until all are there: one a sequence
  EngineUsage usage;
  double first_token_at = 0;
  double last_token_at = 0;

  bool ranked() const { return count > config.num_return_sequences; }
  Chooser& chooser(size_t sequence) { return *choosers[choosers.size() == 1 ? 0 : sequence]; }
};

/// Checks a request as generate() would, and what an engine asks beyond that. Throws Error(invalid_argument).
std::unique_ptr<Job> make_job(EngineRequest request, std::shared_ptr<EngineListener> listener,
                              const BambaConfig& model_config, const TextTools& tools);

}  // namespace bamba
