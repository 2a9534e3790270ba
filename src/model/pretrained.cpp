// Loading a model from a checkpoint folder.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/file.h"
#include "base/str.h"
#include "io/checkpoint.h"
#include "model/model_impl.h"
#include "model/random_weights.h"

namespace bamba {
namespace {

constexpr uint64_t kMaxGenerationConfigBytes = uint64_t{1} << 20;

std::optional<WeightFormat> format_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::bf16:
      return WeightFormat::bf16;
    case DType::f16:
      return WeightFormat::f16;
    default:
      return std::nullopt;
  }
}

/// A checkpoint's tensors checked against the config, and handed out one by one.
class PretrainedSource {
 public:
  PretrainedSource(const std::filesystem::path& directory, const BambaConfig& config, ProgressCallback progress)
      : directory_(directory.string()),
        checkpoint_(Checkpoint::open(directory)),
        specs_(tensor_specs(config)),
        progress_(std::move(progress)) {
    check(config);
  }

  DType embedding_type() const { return checkpoint_.entry(kEmbeddingName).dtype; }

  Tensor take(const TensorSpec& spec) {
    // The disk reads the next tensor while this one is packed; the last one's pages go.
    release_last();
    if (next_ == 0) checkpoint_.will_need(spec.name);
    ++next_;
    if (next_ < specs_.size()) checkpoint_.will_need(specs_[next_].name);
    if (progress_) progress_("loading weights", done_, total_);
    done_ += checkpoint_.entry(spec.name).bytes;
    last_ = spec.name;
    const Tensor stored = checkpoint_.tensor(spec.name);
    return stored.dtype() == DType::f8_e4m3 ? widen_f8(spec.name, stored) : stored;
  }

  void finish() {
    release_last();
    if (progress_) progress_("loading weights", total_, total_);
  }

 private:
  static std::string scale_name(const std::string& name) { return name + "_scale"; }

  void release_last() const {
    if (!last_.empty()) checkpoint_.release(last_);
  }

  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ErrorCode::invalid_checkpoint, directory_, ": ", parts...);
  }

  void check(const BambaConfig& config) {
    std::set<std::string, std::less<>> expected;
    for (const TensorSpec& spec : specs_) {
      if (!checkpoint_.contains(spec.name)) {
        reject("the tensor ", spec.name, " ", list_str<int64_t>(spec.shape), " is missing");
      }
      const SafetensorsEntry& entry = checkpoint_.entry(spec.name);
      if (entry.shape != spec.shape) {
        reject("the tensor ", spec.name, " has the shape ", list_str<int64_t>(entry.shape), "; the config asks for ",
               list_str<int64_t>(spec.shape));
      }
      expected.insert(spec.name);
      total_ += entry.bytes;
      if (entry.dtype == DType::f8_e4m3 && spec.role == TensorRole::linear) {
        check_scale(spec);
        expected.insert(scale_name(spec.name));
      } else if (!format_of(entry.dtype)) {
        reject("the tensor ", spec.name, " has the type ", dtype_safetensors_name(entry.dtype),
               "; F32, F16 and BF16 can be read, and F8_E4M3 for linear weights with a scale");
      }
    }
    for (const std::string& name : checkpoint_.names()) {
      // Older files carry the rotary table, and some tied models their head once more: both follow from the rest.
      if (name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == kHeadName)) continue;
      if (!expected.contains(name)) {
        reject("the tensor ", name,
               " is not part of this model; the config (layer kinds, biases) does not fit the file");
      }
    }
  }

  /// One scale for the whole matrix, or one for each row.
  void check_scale(const TensorSpec& spec) const {
    const std::string name = scale_name(spec.name);
    if (!checkpoint_.contains(name)) reject("the tensor ", name, " is missing: ", spec.name, " is F8_E4M3");
    const SafetensorsEntry& entry = checkpoint_.entry(name);
    const int64_t count = shape_numel(entry.shape);
    if (!format_of(entry.dtype) || (count != 1 && count != spec.shape[0])) {
      reject("the tensor ", name, " has the shape ", list_str<int64_t>(entry.shape), " and type ",
             dtype_safetensors_name(entry.dtype), "; it must be a float for the whole matrix or one for each of its ",
             spec.shape[0], " rows");
    }
  }

  /// weight * scale, in f32: 8-bit floats of the compressed-tensors checkpoints.
  Tensor widen_f8(const std::string& name, const Tensor& stored) const {
    const Tensor scales = checkpoint_.tensor(scale_name(name)).to(DType::f32);
    float table[256];
    for (unsigned bits = 0; bits < 256; ++bits) table[bits] = e4m3_value(static_cast<uint8_t>(bits));
    Tensor out = Tensor::empty(DType::f32, stored.shape());
    const auto* source = static_cast<const uint8_t*>(stored.raw());
    float* target = out.data<float>().data();
    const int64_t columns = stored.dim(1);
    for (int64_t r = 0; r < stored.dim(0); ++r) {
      const float scale = scales.data<float>()[scales.numel() == 1 ? 0 : static_cast<size_t>(r)];
      for (int64_t c = 0; c < columns; ++c) *target++ = table[*source++] * scale;
    }
    return out;
  }

  /// OCP 8-bit floating point, E4M3: 4 exponent bits of bias 7, no infinities, all-ones is NaN.
  static float e4m3_value(uint8_t bits) {
    const float sign = (bits & 0x80U) != 0 ? -1.0f : 1.0f;
    const int exponent = (bits >> 3) & 0xF;
    const int mantissa = bits & 0x7;
    if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
    return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }

  std::string directory_;
  Checkpoint checkpoint_;
  std::vector<TensorSpec> specs_;
  ProgressCallback progress_;
  size_t next_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  std::string last_;
};

}  // namespace

BambaForCausalLM BambaForCausalLM::from_pretrained(const std::filesystem::path& directory, const RunOptions& options) {
  auto device = make_backend(options);
  const BambaConfig config = BambaConfig::from_pretrained(directory);
  PretrainedSource source(directory, config, options.progress);
  const auto stored = format_of(config.dtype.value_or(source.embedding_type()));
  const WeightFormat format = options.weights.value_or(stored.value_or(WeightFormat::bf16));
  auto impl = std::make_shared<BambaModel::Impl>(config, options, std::move(device), format,
                                                 [&](const TensorSpec& spec) { return source.take(spec); });
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
  auto device = make_backend(options);
  const WeightFormat format =
      options.weights.value_or(format_of(config.dtype.value_or(DType::f32)).value_or(WeightFormat::f32));
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
