#include <bamba/model.h>

#include <cstring>
#include <mutex>
#include <utility>

#include "backend/profiling_backend.h"
#include "base/fnv.h"
#include "base/free_memory.h"
#include "base/str.h"
#include "model/host_snapshot.h"
#include "model/model_impl.h"
#include "model/pretrained_source.h"

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

constexpr std::string_view kCpu = "cpu";
constexpr std::string_view kCuda = "cuda";

/// Rows of a pass: on the CPU activations stay in caches, a GPU wants many rows for each reading of the weights.
constexpr int64_t kCpuPassTokens = 512;
constexpr int64_t kCudaPassTokens = 8192;

/// Pages lose no more than the weights or the activations did.
KvFormat kv_format_of(const backend::Backend& device, WeightFormat weights) {
  return device.intermediate_element() == backend::Element::bf16 ? KvFormat::bf16 : default_kv_format(weights);
}

}  // namespace

std::shared_ptr<backend::Backend> make_backend(const RunOptions& options, const BambaConfig& config) {
  if (options.device != kCpu && options.device != kCuda) {
    fail(ErrorCode::unsupported, "device \"", options.device, "\" is not known; it is cpu or cuda");
  }
  if (options.pass_tokens.value_or(1) < 1) {
    fail(ErrorCode::invalid_argument, "pass_tokens is ", *options.pass_tokens, "; it must be at least 1");
  }
  std::unique_ptr<backend::Backend> device;
  if (options.device == kCpu) {
    device = backend::make_cpu_backend(options.threads, options.activations.value_or(ActivationFormat::f32));
  } else {
    const auto stored = config.dtype ? stored_format(*config.dtype) : std::nullopt;
    const bool wide = options.weights.value_or(stored.value_or(WeightFormat::bf16)) == WeightFormat::f32;
    backend::CudaOptions cuda;
    cuda.activations = options.activations.value_or(wide ? ActivationFormat::f32 : ActivationFormat::bf16);
    cuda.memory = options.gpu_memory;
    cuda.bit_exact = options.bit_exact;
    device = backend::make_cuda_backend(cuda);
  }
  if (options.profile == nullptr) return device;
  return backend::make_profiling_backend(std::move(device), options.profile);
}

BambaModel::Impl::Impl(const BambaConfig& config_, const RunOptions& options_,
                       std::shared_ptr<backend::Backend> device_, WeightFormat wanted, const TensorSource& source)
    : config(config_),
      options(options_),
      format(device_->held_format(wanted)),
      scan(
          options.scan.value_or(options.device == kCpu || options.bit_exact ? ScanForm::recurrent : ScanForm::chunked)),
      pass_tokens(options.pass_tokens.value_or(options.device == kCpu ? kCpuPassTokens : kCudaPassTokens)),
      device(std::move(device_)),
      weights(build_weights(config, wanted, *device, source)),
      rope(config),
      context(std::make_shared<StateContext>(device, config, options.kv.value_or(kv_format_of(*device, format)),
                                             fingerprint_of(config, weights))),
      workspace(*device) {}

const BambaConfig& BambaModel::config() const {
  return impl_->config;
}

MachineRoof BambaModel::measure_machine() const {
  const std::lock_guard lock(impl_->mutex);
  const backend::MachineRoof roof = impl_->device->measure_roof();
  return {impl_->device->threads(), roof.read_bytes_per_second, roof.f32_flops_per_second, roof.int8_ops_per_second,
          roof.bf16_flops_per_second};
}

size_t BambaModel::free_memory() const {
  const backend::DeviceMemory memory = impl_->device->memory();
  return memory.capacity == 0 ? free_memory_bytes() : memory.capacity - memory.used;
}

int BambaModel::threads() const {
  return impl_->device->threads();
}

bool BambaModel::draws_tokens() const {
  return impl_->device->draws_tokens();
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
  const backend::DeviceMemory memory = context.backend->memory();
  info.gpu_memory_bytes = memory.capacity;
  info.gpu_memory_peak_bytes = memory.peak;
  info.weights = impl_->format;
  info.kv = context.attention.kv;
  const bool narrow = context.backend->intermediate_element() == backend::Element::bf16;
  info.activations = impl_->options.activations.value_or(narrow ? ActivationFormat::bf16 : ActivationFormat::f32);
  return info;
}

namespace {

/// On a device that queues its operations, taking and filling memory is one of them: it waits for its turn. On the CPU
/// it need not.
std::unique_lock<std::mutex> device_turn(BambaModel::Impl& impl) {
  return impl.device->buffers_on_host() ? std::unique_lock<std::mutex>() : std::unique_lock(impl.mutex);
}

}  // namespace

SequenceState BambaModel::new_state() const {
  const auto turn = device_turn(*impl_);
  SequenceState state(std::make_unique<SequenceState::Impl>(impl_->context));
  if (impl_->options.profile != nullptr) impl_->device->finish();  // so that it is not in the next forward's time
  return state;
}

SequenceState BambaModel::load_state(const std::filesystem::path& path) const {
  const auto turn = device_turn(*impl_);
  return load_sequence_state(impl_->context, path);
}

SequenceState BambaModel::restore(const HostSnapshot& snapshot) const {
  const auto turn = device_turn(*impl_);
  return restore_snapshot(impl_->context, snapshot);
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
