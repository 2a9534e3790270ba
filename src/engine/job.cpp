#include "engine/job.h"

#include <cmath>
#include <utility>

#include "base/str.h"
#include "generation/prompt_rules.h"

namespace bamba {

std::unique_ptr<Job> make_job(EngineRequest request, std::shared_ptr<EngineListener> listener,
                              const BambaConfig& model_config, const TextTools& tools) {
  if (!listener) fail(ErrorCode::invalid_argument, "the request has no listener");
  const GenerationConfig& config = request.generation;
  config.validate(model_config);
  if (config.num_beams != 1) {
    fail(ErrorCode::invalid_argument, "num_beams is ", config.num_beams,
         "; the engine runs one beam (generate() has more)");
  }
  if (request.best_of != 0 && request.best_of < config.num_return_sequences) {
    fail(ErrorCode::invalid_argument, "best_of is ", request.best_of,
         "; it must be 0 or at least num_return_sequences, ", config.num_return_sequences);
  }
  if (request.best_of > 1 && !config.do_sample) {
    fail(ErrorCode::invalid_argument, "best_of is ", request.best_of,
         " without do_sample; all sequences would be the same");
  }
  if (request.timeout_seconds && !(*request.timeout_seconds >= 0)) {
    fail(ErrorCode::invalid_argument, "timeout_seconds is ", *request.timeout_seconds, "; it must be 0 or more");
  }
  auto job = std::make_unique<Job>();
  job->config = config;
  job->rules = stop_rules(config, tools);
  job->prompt = checked_ids(request.prompt_ids, 0, config, model_config.vocab_size);
  job->max_length = max_length_for(config, 0, static_cast<int64_t>(job->prompt.size()));
  job->count = std::max(request.best_of, config.num_return_sequences);
  if (job->ranked()) job->config.output_logprobs = true;
  job->listener = std::move(listener);
  job->request = std::move(request);
  job->usage.prompt_tokens = static_cast<int64_t>(job->prompt.size());
  return job;
}

}  // namespace bamba
