#include "model/pretrained_source.h"

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
      checkpoint_(Checkpoint::open(directory)),
      specs_(tensor_specs(config)),
      device_(device),
      progress_(std::move(progress)) {
  check(config);
  if (quantization_) {
    format_ = quantization_->weights;
  } else if (has_fp8_ && device.held_format(WeightFormat::fp8) == WeightFormat::fp8) {
    format_ = WeightFormat::fp8;
  } else {
    const DType type = config.dtype.value_or(checkpoint_.entry(kEmbeddingName).dtype);
    format_ = stored_format(type).value_or(WeightFormat::bf16);
  }
}

WeightFormat PretrainedSource::format() const {
  return format_;
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
      expected.insert(scale_name(spec.name));
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

/// One scale for the whole matrix, or one for each row.
void PretrainedSource::check_scale(const TensorSpec& spec) const {
  const std::string name = scale_name(spec.name);
  if (!checkpoint_.contains(name)) reject("the tensor ", name, " is missing: ", spec.name, " is F8_E4M3");
  const SafetensorsEntry& entry = checkpoint_.entry(name);
  const int64_t count = shape_numel(entry.shape);
  if (!stored_format(entry.dtype) || (count != 1 && count != spec.shape[0])) {
    reject("the tensor ", name, " has the shape ", list_str<int64_t>(entry.shape), " and type ",
           dtype_safetensors_name(entry.dtype), "; it must be a float for the whole matrix or one for each of its ",
           spec.shape[0], " rows");
  }
}

/// The matrix with a scale for each row, one for all of it repeated.
Fp8Matrix PretrainedSource::fp8_matrix(const std::string& name, Tensor stored) const {
  const Tensor given = checkpoint_.tensor(scale_name(name)).to(DType::f32);
  const auto scales = given.data<float>();
  Fp8Matrix out{std::move(stored), {scales.begin(), scales.end()}};
  if (out.scales.size() == 1) out.scales.assign(static_cast<size_t>(out.codes.dim(0)), scales[0]);
  return out;
}

std::unique_ptr<backend::LinearWeight> PretrainedSource::pack_fp8(const std::string& name) const {
  try {
    return device_.pack_fp8(fp8_matrix(name, checkpoint_.tensor(name)));
  } catch (const Error& error) {
    throw Error(error.code(), str(directory_, ": ", name, ": ", error.what()));
  }
}

}  // namespace bamba
