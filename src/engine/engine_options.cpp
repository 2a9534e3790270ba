#include "engine/engine_options.h"

#include <algorithm>

#include "base/str.h"
#include "model/model_impl.h"

namespace bamba {
namespace {

constexpr int64_t kCpuStepTokens = 256;
constexpr int64_t kDeviceStepTokens = 2048;

void at_least(const char* name, int64_t value, int64_t least, const char* unless = "") {
  if (value < least) fail(ErrorCode::invalid_argument, name, " is ", value, "; it must be at least ", least, unless);
}

}  // namespace

EngineOptions filled_options(const EngineOptions& options, const BambaForCausalLM& model) {
  EngineOptions out = options;
  at_least("max_sequences", out.max_sequences, 1);
  at_least("max_queue", out.max_queue, 1);
  at_least("cache_stride", out.cache_stride, 0);
  at_least("max_context", out.max_context, 0);
  at_least("step_tokens", out.step_tokens, 0);
  const bool on_host = model.model().impl().device->buffers_on_host();
  if (out.step_tokens == 0) out.step_tokens = std::max(on_host ? kCpuStepTokens : kDeviceStepTokens, out.max_sequences);
  if (out.step_tokens < out.max_sequences) {
    fail(ErrorCode::invalid_argument, "step_tokens is ", out.step_tokens, " and max_sequences ", out.max_sequences,
         "; each sequence needs a token of a step");
  }
  if (out.max_context == 0) out.max_context = model.config().max_position_embeddings;
  const size_t free = model.model().free_memory();
  if (out.running_bytes == 0) out.running_bytes = free / 2;
  if (out.cache_bytes == 0) out.cache_bytes = free / 4;
  // On the CPU what makes way moves from one budget to another and stays in the same memory.
  if (out.host_bytes == 0) out.host_bytes = on_host ? out.running_bytes / 4 : out.running_bytes;
  return out;
}

SchedulerLimits scheduler_limits(const EngineOptions& filled, const BambaForCausalLM& model) {
  return {.max_sequences = filled.max_sequences,
          .step_tokens = filled.step_tokens,
          .running_bytes = filled.running_bytes,
          .host_bytes = filled.host_bytes,
          .cut_multiple = model.model().impl().scan == ScanForm::chunked ? model.config().mamba_chunk_size : 1,
          .cache_stride = filled.cache ? filled.cache_stride : 0};
}

}  // namespace bamba
