#include <bamba/model.h>

#include <cstring>
#include <utility>

#include "backend/profiling_backend.h"
#include "base/fnv.h"
#include "base/str.h"
#include "model/model_impl.h"

namespace bamba {
namespace {

/// A hash over the config's text and the small weights (norms, A_log, D, biases, convolutions).
uint64_t fingerprint_of(const BambaConfig& config, const ModelWeights& weights) {
  Fnv1a hash;
  hash.add(config.to_json());
  for (const auto& [name, tensor] : weights.vectors) {
    hash.add(name);
    hash.add(tensor.raw(), tensor.nbytes());
  }
  return hash.value();
}

}  // namespace

std::shared_ptr<backend::Backend> make_backend(const RunOptions& options) {
  if (options.device != "cpu") {
    fail(ErrorCode::unsupported, "device \"", options.device, "\" is not in this build; available: cpu");
  }
  if (options.pass_tokens < 1) {
    fail(ErrorCode::invalid_argument, "pass_tokens is ", options.pass_tokens, "; it must be at least 1");
  }
  auto device = backend::make_cpu_backend(options.threads, options.activations);
  if (options.profile == nullptr) return device;
  return backend::make_profiling_backend(std::move(device), options.profile);
}

BambaModel::Impl::Impl(const BambaConfig& config_, const RunOptions& options_,
                       std::shared_ptr<backend::Backend> device_, WeightFormat format_, const TensorSource& source)
    : config(config_),
      options(options_),
      format(format_),
      device(std::move(device_)),
      weights(build_weights(config, format, *device, source)),
      rope(config),
      context(std::make_shared<StateContext>(device, config, options.kv.value_or(default_kv_format(format)),
                                             fingerprint_of(config, weights))),
      workspace(*device) {}

const BambaConfig& BambaModel::config() const {
  return impl_->config;
}

int BambaModel::threads() const {
  return impl_->device->threads();
}

ModelInfo BambaModel::info() const {
  const StateContext& context = *impl_->context;
  ModelInfo info;
  info.parameters = impl_->config.parameter_count();
  info.weight_bytes = impl_->weights.bytes();
  info.weight_bytes_per_token = info.weight_bytes;
  if (impl_->weights.lm_head) {
    const size_t table = impl_->weights.embedding->bytes();
    info.weight_bytes_per_token -= table - table / static_cast<size_t>(impl_->config.vocab_size);
  }
  info.state_bytes = context.mamba_layers * (context.window_bytes() + context.ssm_bytes());
  info.kv_bytes_per_token =
      context.attention_layers * context.page_bytes() / static_cast<size_t>(context.backend->kv_page_tokens());
  info.weights = impl_->format;
  info.kv = context.attention.kv;
  info.activations = impl_->options.activations;
  return info;
}

SequenceState BambaModel::new_state() const {
  return SequenceState(std::make_unique<SequenceState::Impl>(impl_->context));
}

SequenceState BambaModel::load_state(const std::filesystem::path& path) const {
  return load_sequence_state(impl_->context, path);
}

void BambaForCausalLM::forward(std::span<const SequenceInput> sequences, const RaggedOptions& options,
                               RaggedOutput& output) const {
  // A decode step allocates nothing for small batches: requests live in one grow-only list a thread.
  thread_local std::vector<SequenceRequest> requests;
  requests.clear();
  for (size_t i = 0; i < sequences.size(); ++i) {
    requests.push_back(to_request(sequences[i], i));
    if (requests.back().embeds != nullptr && sequences[i].inputs_embeds.dim(1) != config().hidden_size) {
      fail(ErrorCode::invalid_argument, "sequence ", i, " of the batch: inputs_embeds is ",
           sequences[i].inputs_embeds.describe(), "; its rows must have hidden_size = ", config().hidden_size,
           " values");
    }
  }
  model_.impl().forward(requests, options, output);
}

RaggedOutput BambaForCausalLM::forward(std::span<const SequenceInput> sequences, const RaggedOptions& options) const {
  RaggedOutput output;
  forward(sequences, options, output);
  return output;
}

}  // namespace bamba
