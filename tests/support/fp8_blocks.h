// Makes a checkpoint of floats into one of fp8 weights with scales for blocks, as others publish them, and into the
// floats that those stand for.
#pragma once

#include <bamba/config.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/checkpoint.h"
#include "model/tensor_specs.h"
#include "support/temp_folder.h"
#include "tensor/fp8_matrix.h"

namespace bamba::test {

class Fp8BlockCheckpoint {
 public:
  /// Codes all linear weights of `parent` but lm_head. `suffix` is that of the scales' names, scale_type F32, BF16 or
  /// F16.
  Fp8BlockCheckpoint(const std::filesystem::path& parent, const Fp8Block& block, const std::string& suffix,
                     DType scale_type = DType::f32)
      : config_(BambaConfig::from_pretrained(parent)) {
    const Checkpoint checkpoint = Checkpoint::open(parent);
    for (const TensorSpec& spec : tensor_specs(config_)) {
      const Tensor stored = checkpoint.tensor(spec.name).clone();
      if (spec.role != TensorRole::linear || !spec.is_matrix() || spec.name == kHeadName) {
        coded_.emplace_back(spec.name, stored);
        plain_.emplace_back(spec.name, stored);
        continue;
      }
      const Tensor weights = stored.to(DType::f32);
      const int64_t rows = spec.shape[0];
      const int64_t cols = spec.shape[1];
      Tensor codes = Tensor::empty(DType::f8_e4m3, spec.shape);
      Tensor scales = Tensor::empty(DType::f32, {(rows - 1) / block.rows + 1, (cols - 1) / block.cols + 1});
      auto* code = static_cast<uint8_t*>(codes.raw());
      for (int64_t r = 0; r < rows; r += std::min(block.rows, rows)) {
        for (int64_t c = 0; c < cols; c += std::min(block.cols, cols)) {
          scales.data<float>()[static_cast<size_t>(r / block.rows * scales.dim(1) + c / block.cols)] =
              fp8_quantize_block(weights.data<float>().data() + r * cols + c, std::min(block.rows, rows - r),
                                 std::min(block.cols, cols - c), cols, code + r * cols + c);
        }
      }
      scales = scales.to(scale_type);
      const Tensor exact = scales.to(DType::f32);
      Tensor values = Tensor::empty(DType::f32, spec.shape);
      for (int64_t i = 0; i < values.numel(); ++i) {
        const int64_t scale = i / cols / block.rows * scales.dim(1) + i % cols / block.cols;
        values.data<float>()[static_cast<size_t>(i)] =
            from_e4m3(code[i]) * std::as_const(exact).data<float>()[static_cast<size_t>(scale)];
      }
      coded_.emplace_back(spec.name, codes);
      coded_.emplace_back(spec.name + suffix, scales);
      plain_.emplace_back(spec.name, values);
    }
  }

  /// The one of fp8; tests change it before they write it.
  NamedTensors& coded() { return coded_; }
  NamedTensors::iterator find(const std::string& name) {
    return std::find_if(coded_.begin(), coded_.end(), [&](const auto& item) { return item.first == name; });
  }
  /// With a quantization_config of this JSON text, none where it is empty.
  void write_coded(const std::filesystem::path& folder, const std::string& quantization) const {
    BambaConfig config = config_;
    if (!quantization.empty()) config.set_extra_key("quantization_config", quantization);
    write(folder, config, coded_);
  }
  /// The linear weights in f32, the rest as it is.
  void write_plain(const std::filesystem::path& folder) const { write(folder, config_, plain_); }

 private:
  static void write(const std::filesystem::path& folder, const BambaConfig& config, const NamedTensors& tensors) {
    std::filesystem::create_directories(folder);
    write_text(folder / "config.json", config.to_json());
    save_safetensors(folder / "model.safetensors", tensors);
  }

  BambaConfig config_;
  NamedTensors coded_;
  NamedTensors plain_;
};

/// Transformers' fp8 quantizer.
inline std::string weight_block_size(const std::string& sizes) {
  return R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": )" + sizes + "}";
}
/// compressed-tensors.
inline std::string block_structure(const std::string& sizes) {
  return R"({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"], "config_groups":)"
         R"({"group_0": {"targets": ["Linear"], "input_activations": null, "weights": {"num_bits": 8, "type": "float",)"
         R"("strategy": "block", "block_structure": )" +
         sizes + "}}}}";
}

}  // namespace bamba::test
