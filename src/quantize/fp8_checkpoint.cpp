#include "quantize/fp8_checkpoint.h"

#include <bamba/model.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/json.h"
#include "base/str.h"
#include "model/format_table.h"
#include "model/model_impl.h"
#include "model/pretrained_source.h"
#include "quantize/replace_checkpoint.h"
#include "tensor/fp8_matrix.h"

namespace bamba {
namespace {

using Declaration = SafetensorsWriter::Declaration;

/// "model.layers.0.mamba.in_proj.weight": "model.layers.0.mamba.in_proj".
std::string module_of(const TensorSpec& spec) {
  constexpr std::string_view kWeight = ".weight";
  return spec.name.substr(0, spec.name.size() - kWeight.size());
}

/// How compressed-tensors describes e4m3 weights with a scale for each output and activations left alone.
Json compressed_tensors_json(const std::vector<std::string>& ignored) {
  const Json weights = {{"num_bits", 8},    {"type", "float"},       {"symmetric", true},
                        {"dynamic", false}, {"strategy", "channel"}, {"observer", "minmax"}};
  const Json group = {
      {"targets", {"Linear"}}, {"weights", weights}, {"input_activations", nullptr}, {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},  {"format", "float-quantized"}, {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}}, {"kv_cache_scheme", nullptr},  {"ignore", ignored}};
}

class Fp8Writer {
 public:
  Fp8Writer(const std::filesystem::path& source, const QuantizeOptions& options)
      : options_(options),
        pool_(options.threads),
        directory_(source),
        config_(BambaConfig::from_pretrained(source)),
        device_(make_backend(run_options(options), config_)),
        source_(source, config_, *device_, {}) {
    if (source_.quantized() || source_.has_fp8()) {
      fail(ErrorCode::invalid_argument, directory_.string(),
           " is quantized already; give the checkpoint that it was made from");
    }
    std::vector<std::string> left;  // linear layers that stay as they are
    std::vector<Declaration> codes;
    std::vector<Declaration> scales;
    for (const TensorSpec& spec : tensor_specs(config_)) {
      specs_.emplace(spec.name, spec);
      if (spec.is_matrix() && is_chosen(spec)) {
        codes.push_back({spec.name, DType::f8_e4m3, spec.shape});
        scales.push_back({scale_name(spec.name), DType::f32, {spec.shape[0], 1}});
        total_ += static_cast<uint64_t>(shape_numel(spec.shape));
      } else {
        tensors_.push_back({spec.name, source_.stored_type(spec), spec.shape});
        if (spec.role == TensorRole::linear) left.push_back(module_of(spec));
      }
    }
    if (codes.empty()) {
      fail(ErrorCode::invalid_argument,
           "no matrix of this model is to be quantized; the embedding and lm_head never are ", "to fp8");
    }
    // The larger a tensor's elements, the earlier, so that they are aligned in the file; but a scale is known only
    // after its codes.
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const Declaration& a, const Declaration& b) {
      return dtype_size(a.dtype) > dtype_size(b.dtype);
    });
    tensors_.insert(tensors_.end(), codes.begin(), codes.end());
    tensors_.insert(tensors_.end(), scales.begin(), scales.end());
    config_.set_extra_key("quantization_config", compressed_tensors_json(left).dump());
  }

  void write(const std::filesystem::path& target) {
    replace_checkpoint(
        directory_, target, tensors_, options_.max_shard_bytes,
        [&](const Declaration& declaration, SafetensorsWriter& writer) { fill(declaration, writer); }, config_);
    progress(total_);
  }

 private:
  static RunOptions run_options(const QuantizeOptions& options) {
    RunOptions run;
    run.threads = options.threads;
    return run;
  }

  bool is_chosen(const TensorSpec& spec) const {
    if (tensor_format(spec, WeightFormat::fp8) != WeightFormat::fp8) return false;
    return options_.only.empty() || options_.only.contains(std::string(tensor_class(spec)));
  }
  void progress(uint64_t done) const {
    if (options_.progress) options_.progress("quantizing", done, total_);
  }

  void fill(const Declaration& declaration, SafetensorsWriter& writer) {
    const auto scales = scales_.find(declaration.name);
    if (scales != scales_.end()) {
      writer.append(scales->second.data(), scales->second.size() * sizeof(float));
      return;
    }
    const TensorSpec& spec = specs_.at(declaration.name);
    const Tensor stored = source_.read(spec);
    if (declaration.dtype != DType::f8_e4m3) {
      writer.append(stored.raw(), stored.nbytes());
    } else {
      progress(done_);
      Fp8Matrix matrix = quantized(spec, stored);
      writer.append(matrix.codes.raw(), matrix.codes.nbytes());
      scales_.emplace(scale_name(spec.name), std::move(matrix.scales));
      done_ += static_cast<uint64_t>(shape_numel(spec.shape));
    }
    source_.release(spec);
  }

  Fp8Matrix quantized(const TensorSpec& spec, const Tensor& stored) {
    try {
      return quantize_fp8(stored, pool_);
    } catch (const Error& error) {
      throw Error(error.code(), str(directory_.string(), ": ", spec.name, ": ", error.what()));
    }
  }

  const QuantizeOptions& options_;
  ThreadPool pool_;
  std::filesystem::path directory_;
  BambaConfig config_;
  std::shared_ptr<backend::Backend> device_;
  PretrainedSource source_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  std::vector<Declaration> tensors_;                               ///< in the order of the files
  std::map<std::string, std::vector<float>, std::less<>> scales_;  ///< by name, of the codes written so far
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

void write_fp8_checkpoint(const std::filesystem::path& source, const std::filesystem::path& target,
                          const QuantizeOptions& options) {
  if (options.method != QuantizeMethod::nearest || !options.calibration.empty()) {
    fail(ErrorCode::invalid_argument,
         "fp8 weights are rounded to nearest; the methods search and feedback, and calibration, are for q8 and q4");
  }
  Fp8Writer(source, options).write(target);
}

}  // namespace bamba
