// Quantized checkpoints: smaller weights, better than rounding them alone makes them.
#pragma once

#include <bamba/progress.h>
#include <bamba/weight_format.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace bamba {

enum class QuantizeMethod {
  nearest,   ///< each weight to the nearest level, each group's largest weight to the last one
  search,    ///< each group's scale searched for the least error, weighed by how large its inputs are
  feedback,  ///< search, and each weight makes up for the errors of those rounded before it (GPTQ); needs a text
};

struct QuantizeOptions {
  WeightFormat weights = WeightFormat::q4;  ///< q8, q4, or fp8 (method nearest)
  QuantizeMethod method = QuantizeMethod::feedback;
  /// Token ids of a text like those the model will read; needed by feedback, used by search. Read in windows of
  /// `window` tokens.
  std::vector<int64_t> calibration;
  int64_t window = 1024;
  /// The activations that a layer is calibrated with come from layers that are quantized already.
  bool sequential = true;
  std::set<std::string> only;  ///< classes of matrices to quantize (tensor_classes()); empty: all
  uint64_t max_shard_bytes = uint64_t{5'000'000'000};
  int threads = 0;            ///< 0: as many as the process may use
  ProgressCallback progress;  ///< weights quantized
};

/// The kinds of matrices that QuantizeOptions::only tells apart: "embedding", "lm_head", "in_proj", "out_proj",
/// "attention", "gate_up", "down".
const std::vector<std::string>& quantizable_classes();

/// Reads the checkpoint folder `source` and writes it to `target` with packed weights and a quantization_config, for
/// BambaForCausalLM::from_pretrained to map; config.json, generation_config.json and the tokenizer's files come along.
/// fp8 weights are stored as the published fp8 checkpoints store them (compressed-tensors: F8_E4M3 and a weight_scale
/// for each output), which leaves the embedding and lm_head as they are. Layer by layer: memory holds one layer and the
/// calibration text's activations at a time. Until all weights are written `target` stays as it was; then an older
/// model's config.json goes first and the new one comes last, so that a folder in between is no model at all. Throws
/// Error(invalid_argument) for options that do not fit together or a source that is quantized already,
/// Error(non_finite) for weights or activations that are not finite, and what from_pretrained and save_pretrained
/// throw.
void quantize_checkpoint(const std::filesystem::path& source, const std::filesystem::path& target,
                         const QuantizeOptions& options);

}  // namespace bamba
