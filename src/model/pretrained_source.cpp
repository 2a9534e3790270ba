#include "model/pretrained_source.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/str.h"

namespace bamba {

std::string scale_name(const std::string& name) {
  return name + "_scale";
}

std::optional<WeightFormat> stored_format(DType dtype) {
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

PretrainedSource::PretrainedSource(const std::filesystem::path& directory, const BambaConfig& config,
                                   backend::Backend& device, ProgressCallback progress)
    : directory_(directory.string()),
      quantization_(read_quantization_config(config, (directory / "config.json").string())),
      fp8_config_(read_fp8_config(config, (directory / "config.json").string())),
      checkpoint_(Checkpoint::open(directory)),
      specs_(tensor_specs(config)),
      device_(device),
      progress_(std::move(progress)) {
  check(config);
  if (quantization_) {
    format_ = quantization_->weights;
  } else if (has_fp8_ && device.held_format(WeightFormat::fp8) == WeightFormat::fp8 && !must_widen()) {
    format_ = WeightFormat::fp8;
  } else {
    const DType type = config.dtype.value_or(checkpoint_.entry(kEmbeddingName).dtype);
    format_ = stored_format(type).value_or(WeightFormat::bf16);
  }
}

WeightFormat PretrainedSource::format(std::optional<WeightFormat> wanted) const {
  if (wanted == WeightFormat::fp8 && must_widen()) return WeightFormat::bf16;
  return wanted.value_or(format_);
}

bool PretrainedSource::must_widen() const {
  return has_fp8_blocks_ && device_.held_format(WeightFormat::fp8) == WeightFormat::fp8 &&
         !device_.keeps_fp8_blocks(*fp8_config_.block);
}

DType PretrainedSource::stored_type(const TensorSpec& spec) const {
  const DType type = checkpoint_.entry(spec.name).dtype;
  return type == DType::f8_e4m3 ? DType::bf16 : type;
}

WeightTensor PretrainedSource::take(const TensorSpec& spec, WeightFormat format) {
  release_last();
  if (next_ == 0) checkpoint_.will_need(spec.name);
  ++next_;
  if (next_ < specs_.size()) checkpoint_.will_need(specs_[next_].name);
  if (progress_) progress_("loading weights", done_, total_);
  done_ += checkpoint_.entry(spec.name).bytes;
  if (const auto packed = packed_format(spec)) return adopt(spec, *packed);
  last_ = spec.name;
  if (has_fp8_ && format == WeightFormat::fp8 && spec.is_matrix()) {
    if (checkpoint_.entry(spec.name).dtype == DType::f8_e4m3) return pack_fp8(spec.name);
    return {read(spec), WeightFormat::bf16};
  }
  // What a quantized checkpoint left as it was stays so.
  if (quantization_) return {read(spec), stored_format(stored_type(spec)).value_or(format_)};
  return read(spec);
}

Tensor PretrainedSource::read(const TensorSpec& spec) const {
  if (const auto format = packed_format(spec)) {
    Tensor out = Tensor::empty(DType::f32, spec.shape);
    device_.unpack_linear(*adopt(spec, *format), 0, spec.shape[0], out.data<float>().data());
    return out;
  }
  const Tensor stored = checkpoint_.tensor(spec.name);
  return stored.dtype() == DType::f8_e4m3 ? widen_fp8(fp8_matrix(spec.name, stored)) : stored;
}

void PretrainedSource::finish() {
  release_last();
  if (progress_) progress_("loading weights", total_, total_);
}

void PretrainedSource::release_last() {
  if (!last_.empty()) checkpoint_.release(last_);
  last_.clear();
}

template <typename... Parts>
void PretrainedSource::reject(const Parts&... parts) const {
  fail(ErrorCode::invalid_checkpoint, directory_, ": ", parts...);
}

std::optional<WeightFormat> PretrainedSource::packed_format(const TensorSpec& spec) const {
  if (!quantization_) return {};
  const auto found = quantization_->tensors.find(spec.name);
  if (found == quantization_->tensors.end()) return {};
  return found->second;
}

/// The weight over the mapped file, whose writer aligned it; a file that something else wrote may have to be copied.
std::unique_ptr<backend::LinearWeight> PretrainedSource::adopt(const TensorSpec& spec, WeightFormat format) const {
  constexpr uintptr_t kAlignment = 64;
  Tensor packed = checkpoint_.tensor(spec.name);
  if (reinterpret_cast<uintptr_t>(std::as_const(packed).raw()) % kAlignment != 0) packed = packed.clone();
  const auto held = std::make_shared<const Tensor>(std::move(packed));
  return device_.adopt_quantized(spec.shape[0], spec.shape[1], format,
                                 {held, static_cast<const std::byte*>(held->raw())});
}

/// True when the tensor is packed; the kernels trust its size.
bool PretrainedSource::check_packed(const TensorSpec& spec, const SafetensorsEntry& entry) const {
  const auto format = packed_format(spec);
  if (!format) return false;
  if (!spec.is_matrix()) {
    reject("the quantization_config gives ", spec.name, " a format; only matrices can be quantized");
  }
  const size_t bytes = device_.quantized_bytes(spec.shape[0], spec.shape[1], *format);
  if (entry.dtype != DType::u8 || entry.shape != Shape{static_cast<int64_t>(bytes)}) {
    reject("the tensor ", spec.name, " is ", dtype_safetensors_name(entry.dtype), " ", list_str<int64_t>(entry.shape),
           "; as ", weight_format_name(*format), " of ", list_str<int64_t>(spec.shape), " it must be U8 [", bytes, "]");
  }
  return true;
}

void PretrainedSource::check(const BambaConfig& config) {
  std::set<std::string, std::less<>> expected;
  for (const TensorSpec& spec : specs_) {
    if (!checkpoint_.contains(spec.name)) {
      reject("the tensor ", spec.name, " ", list_str<int64_t>(spec.shape), " is missing");
    }
    const SafetensorsEntry& entry = checkpoint_.entry(spec.name);
    expected.insert(spec.name);
    total_ += entry.bytes;
    if (check_packed(spec, entry)) continue;
    if (entry.shape != spec.shape) {
      reject("the tensor ", spec.name, " has the shape ", list_str<int64_t>(entry.shape), "; the config asks for ",
             list_str<int64_t>(spec.shape));
    }
    if (entry.dtype == DType::f8_e4m3 && spec.role == TensorRole::linear) {
      check_scale(spec);
      has_fp8_ = true;
      expected.insert(scale_of(spec.name));
    } else if (!stored_format(entry.dtype)) {
      reject("the tensor ", spec.name, " has the type ", dtype_safetensors_name(entry.dtype),
             "; F32, F16 and BF16 can be read, and F8_E4M3 for linear weights with a scale");
    }
  }
  for (const std::string& name : checkpoint_.names()) {
    // Older files carry the rotary table, and some tied models their head once more: both follow from the rest.
    if (name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == kHeadName)) continue;
    if (!expected.contains(name)) {
      reject("the tensor ", name, " is not part of this model; the config (layer kinds, biases) does not fit the file");
    }
  }
  if (!quantization_) return;
  for (const auto& [name, format] : quantization_->tensors) {
    if (!expected.contains(name)) {
      reject("the quantization_config names the tensor ", quote(name), ", which is not part of this model");
    }
  }
}

/// The tensor with an fp8 matrix's scales. The blocks' are "weight_scale_inv" to DeepSeek and Transformers, whose name
/// speaks of what the weights were divided by; codes are multiplied with them as with any other.
std::string PretrainedSource::scale_of(const std::string& name) const {
  const std::string other = name + "_scale_inv";
  return checkpoint_.contains(other) ? other : scale_name(name);
}

/// One scale for the whole matrix, one for each row, or one for each block, as the config has it.
void PretrainedSource::check_scale(const TensorSpec& spec) {
  const std::string name = scale_of(spec.name);
  if (!checkpoint_.contains(name)) reject("the tensor ", name, " is missing: ", spec.name, " is F8_E4M3");
  const SafetensorsEntry& entry = checkpoint_.entry(name);
  const int64_t rows = spec.shape[0];
  const bool is_float = stored_format(entry.dtype).has_value();
  if (is_float && has_blocks(spec.name, spec.shape)) {
    has_fp8_blocks_ = true;
    return;
  }
  const int64_t count = shape_numel(entry.shape);
  // [rows] or [rows, 1]: what is wide in two dimensions is for blocks, whatever its count.
  const bool is_for_rows =
      count == rows && std::find(entry.shape.begin(), entry.shape.end(), rows) != entry.shape.end();
  if (is_float && fp8_config_.by_row && (count == 1 || is_for_rows)) return;
  std::string wanted;
  if (fp8_config_.by_row) wanted = str("a float for the whole matrix or one for each of its ", rows, " rows");
  if (fp8_config_.block) {
    const Fp8Block& block = *fp8_config_.block;
    wanted +=
        str(wanted.empty() ? "" : ", or ", "floats ", list_str<int64_t>(fp8_scales_shape(block, rows, spec.shape[1])),
            " for its blocks of ", block.rows, " x ", block.cols);
  } else {
    wanted += " (for blocks of it, the quantization_config must give the weight_block_size)";
  }
  reject("the tensor ", name, " has the shape ", list_str<int64_t>(entry.shape), " and type ",
         dtype_safetensors_name(entry.dtype), "; it must be ", wanted);
}

/// Whether the scales of the matrix are for blocks.
bool PretrainedSource::has_blocks(const std::string& name, const Shape& shape) const {
  return fp8_config_.block &&
         checkpoint_.entry(scale_of(name)).shape == fp8_scales_shape(*fp8_config_.block, shape[0], shape[1]);
}

/// The matrix with a scale for each row, one for all of it repeated, or with those of its blocks.
Fp8Matrix PretrainedSource::fp8_matrix(const std::string& name, Tensor stored) const {
  const Tensor given = checkpoint_.tensor(scale_of(name)).to(DType::f32);
  const auto scales = given.data<float>();
  for (const float scale : scales) {
    if (!std::isfinite(scale)) {
      fail(ErrorCode::non_finite, directory_, ": ", scale_of(name), ": a scale is ", scale);
    }
  }
  Fp8Matrix out{std::move(stored), {scales.begin(), scales.end()}, {}};
  if (has_blocks(name, out.codes.shape())) {
    out.block = fp8_config_.block;
  } else if (out.scales.size() == 1) {
    out.scales.assign(static_cast<size_t>(out.codes.dim(0)), scales[0]);
  }
  return out;
}

std::unique_ptr<backend::LinearWeight> PretrainedSource::pack_fp8(const std::string& name) const {
  const Fp8Matrix matrix = fp8_matrix(name, checkpoint_.tensor(name));
  try {
    return device_.pack_fp8(matrix);
  } catch (const Error& error) {
    throw Error(error.code(), str(directory_, ": ", name, ": ", error.what()));
  }
}

}  // namespace bamba
