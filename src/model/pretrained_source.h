// A checkpoint's tensors checked against the config, and handed out one by one.
#pragma once

#include <bamba/config.h>
#include <bamba/progress.h>
#include <bamba/weight_format.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "model/fp8_config.h"
#include "model/quantization_config.h"
#include "model/weight_tensor.h"

namespace bamba {

/// f32, bf16 and f16 as weight formats; empty for other types.
std::optional<WeightFormat> stored_format(DType dtype);

/// The scale of an fp8 tensor of this name, as compressed-tensors calls it (and `bamba quantize`).
std::string scale_name(const std::string& name);

class PretrainedSource {
 public:
  /// Opens DIR's weights; nothing is read but headers. Throws Error(invalid_checkpoint | invalid_config | io) naming
  /// the tensor that is missing, surplus, or of another shape or type than the config asks for.
  PretrainedSource(const std::filesystem::path& directory, const BambaConfig& config, backend::Backend& device,
                   ProgressCallback progress);

  /// The format of most of the weights, as the device holds them unless told otherwise: fp8 tensors are fp8 only where
  /// the device has that (and keeps blocks of their size, if their scales are for blocks), and widened to the config's
  /// dtype elsewhere.
  WeightFormat format() const { return format_; }
  /// What the weights are loaded as when `wanted` is asked for: bf16 where that is fp8, but the tensors are fp8 with
  /// blocks that the device does not keep.
  WeightFormat format(std::optional<WeightFormat> wanted) const;
  bool quantized() const { return quantization_.has_value(); }
  /// Whether there are fp8 tensors (those of compressed-tensors and Transformers' fp8 checkpoints).
  bool has_fp8() const { return has_fp8_; }
  /// The type a tensor is stored in; BF16 for one that is widened from 8 bits, U8 for packed ones.
  DType stored_type(const TensorSpec& spec) const;

  /// Tensors are best taken in the order of the specs: the disk reads the next one while this one is packed, and the
  /// last one's pages are let go of. Packed weights stay mapped. `format` is what the model is loaded as: with fp8, fp8
  /// tensors keep their codes and scales, and the other matrices beside them are bf16.
  WeightTensor take(const TensorSpec& spec, WeightFormat format);
  /// take() without any of that, and nothing packed: packed weights are unpacked to f32.
  Tensor read(const TensorSpec& spec) const;
  /// Lets go of a tensor's pages; a later read brings them back from the file.
  void release(const TensorSpec& spec) const { checkpoint_.release(spec.name); }
  void finish();

 private:
  bool must_widen() const;
  void release_last();
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const;
  void check(const BambaConfig& config);
  bool check_packed(const TensorSpec& spec, const SafetensorsEntry& entry) const;
  std::string scale_of(const std::string& name) const;
  void check_scale(const TensorSpec& spec);
  std::optional<WeightFormat> packed_format(const TensorSpec& spec) const;
  std::unique_ptr<backend::LinearWeight> adopt(const TensorSpec& spec, WeightFormat format) const;
  bool has_blocks(const std::string& name, const Shape& shape) const;
  Fp8Matrix fp8_matrix(const std::string& name, Tensor stored) const;
  std::unique_ptr<backend::LinearWeight> pack_fp8(const std::string& name) const;

  std::string directory_;
  std::optional<QuantizationConfig> quantization_;
  Fp8Config fp8_config_;
  Checkpoint checkpoint_;
  std::vector<TensorSpec> specs_;
  backend::Backend& device_;
  ProgressCallback progress_;
  WeightFormat format_ = WeightFormat::bf16;
  bool has_fp8_ = false;
  bool has_fp8_blocks_ = false;
  size_t next_ = 0;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  std::string last_;
};

}  // namespace bamba
