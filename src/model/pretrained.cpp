// Loading a model from a checkpoint folder.
#include "base/file.h"
#include "model/model_impl.h"
#include "model/pretrained_source.h"
#include "model/random_weights.h"

namespace bamba {
namespace {

constexpr uint64_t kMaxGenerationConfigBytes = uint64_t{1} << 20;

}  // namespace

BambaForCausalLM BambaForCausalLM::from_pretrained(const std::filesystem::path& directory, const RunOptions& options) {
  const BambaConfig config = BambaConfig::from_pretrained(directory);
  auto device = make_backend(options, config);
  PretrainedSource source(directory, config, *device, options.progress);
  const WeightFormat format = source.format(options.weights);
  // A quantized checkpoint may still be asked for in another format: unpacked, then packed anew.
  const bool repacks = source.quantized() && format != source.format();
  auto impl = std::make_shared<BambaModel::Impl>(
      config, options, std::move(device), format,
      [&](const TensorSpec& spec) -> WeightTensor { return repacks ? source.read(spec) : source.take(spec, format); });
  source.finish();
  const auto generation_config = directory / "generation_config.json";
  if (std::filesystem::exists(generation_config)) {
    impl->generation_config = read_file(generation_config, kMaxGenerationConfigBytes);
  }
  return BambaForCausalLM(BambaModel(std::move(impl)));
}

BambaForCausalLM BambaForCausalLM::from_config(const BambaConfig& config, const InitOptions& init,
                                               const RunOptions& options) {
  config.validate();
  auto device = make_backend(options, config);
  const WeightFormat format =
      options.weights.value_or(stored_format(config.dtype.value_or(DType::f32)).value_or(WeightFormat::f32));
  // Small weights stay f32 in memory, but as exact as the checkpoint that init_checkpoint writes.
  const RandomWeights random(config, init, storage_type(format));
  ThreadPool pool(options.threads);
  const auto total = static_cast<uint64_t>(config.parameter_count());
  uint64_t done = 0;
  auto impl =
      std::make_shared<BambaModel::Impl>(config, options, std::move(device), format, [&](const TensorSpec& spec) {
        if (options.progress) options.progress("initialising weights", done, total);
        done += static_cast<uint64_t>(shape_numel(spec.shape));
        return random.tensor(spec, pool);
      });
  if (options.progress) options.progress("initialising weights", total, total);
  return BambaForCausalLM(BambaModel(std::move(impl)));
}

}  // namespace bamba
