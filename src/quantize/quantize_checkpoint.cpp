// From a checkpoint of floats to a quantized one, layer by layer.
#include <bamba/model.h>
#include <bamba/quantize.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/str.h"
#include "io/checkpoint.h"
#include "model/format_table.h"
#include "model/pretrained_source.h"
#include "quantize/fp8_checkpoint.h"
#include "quantize/layer_model.h"
#include "quantize/quantize_matrix.h"
#include "quantize/replace_checkpoint.h"

namespace bamba {
namespace {

namespace fs = std::filesystem;
using backend::LinearWeight;
using Declaration = SafetensorsWriter::Declaration;

/// Matrices that read the same activations share their statistics: those of the first one.
std::string statistics_name(const std::string& name) {
  for (const auto& [end, first] : {std::pair("self_attn.k_proj.weight", "self_attn.q_proj.weight"),
                                   std::pair("self_attn.v_proj.weight", "self_attn.q_proj.weight"),
                                   std::pair("feed_forward.up_proj.weight", "feed_forward.gate_proj.weight")}) {
    if (name.ends_with(end)) return name.substr(0, name.size() - std::string_view(end).size()) + first;
  }
  return name;
}

class CheckpointQuantizer {
 public:
  CheckpointQuantizer(const fs::path& source, const QuantizeOptions& options)
      : options_(options),
        pool_(options.threads),
        directory_(source),
        config_(BambaConfig::from_pretrained(source)),
        device_(make_backend(run_options(options), config_)),
        source_(source, config_, *device_, {}) {
    check();
    for (const TensorSpec& spec : tensor_specs(config_)) {
      specs_.emplace(spec.name, spec);
      if (spec.is_matrix() && is_chosen(spec)) {
        quantization_.tensors[spec.name] = tensor_format(spec, options.weights);
        total_ += static_cast<uint64_t>(shape_numel(spec.shape));
        packed_.push_back({spec.name, DType::u8, {packed_bytes(spec)}});
      } else {
        others_.push_back({spec.name, source_.stored_type(spec), spec.shape});
      }
    }
    if (packed_.empty()) fail(ErrorCode::invalid_argument, "no matrix of this model is to be quantized");
    quantization_.weights = options.weights;
  }

  void write(const fs::path& target) {
    // Packed weights first: their sizes are multiples of 64 bytes, so that every one of them is aligned in the file.
    std::vector<Declaration> declared = packed_;
    declared.insert(declared.end(), others_.begin(), others_.end());
    BambaConfig config = config_;
    config.set_extra_key("quantization_config", quantization_.to_json().dump());
    replace_checkpoint(
        directory_, target, declared, options_.max_shard_bytes,
        [&](const Declaration& declaration, SafetensorsWriter& writer) { fill(declaration, writer); }, config);
    progress(total_);
  }

 private:
  static RunOptions run_options(const QuantizeOptions& options) {
    RunOptions run;
    run.threads = options.threads;
    return run;
  }

  void check() const {
    if (!is_quantized(options_.weights)) {
      fail(ErrorCode::invalid_argument, "weights cannot be quantized to ", weight_format_name(options_.weights),
           "; fp8, q8 and q4 can be chosen");
    }
    if (source_.quantized()) {
      fail(ErrorCode::invalid_argument, directory_.string(),
           " is quantized already; give the checkpoint that it was made from");
    }
    if (options_.method == QuantizeMethod::feedback && !calibrates()) {
      fail(ErrorCode::invalid_argument, "the method feedback needs a calibration text");
    }
    if (options_.window < 1) {
      fail(ErrorCode::invalid_argument, "the calibration window is ", options_.window, "; it must be at least 1");
    }
    for (const int64_t id : options_.calibration) {
      if (id < 0 || id >= config_.vocab_size) {
        fail(ErrorCode::invalid_argument, "the calibration text has the id ", id, "; ids are 0 to ",
             config_.vocab_size - 1);
      }
    }
  }

  bool calibrates() const { return !options_.calibration.empty() && options_.method != QuantizeMethod::nearest; }
  SecondMoment::Part part() const {
    return options_.method == QuantizeMethod::feedback ? SecondMoment::Part::matrix : SecondMoment::Part::diagonal;
  }
  bool is_chosen(const TensorSpec& spec) const {
    return options_.only.empty() || options_.only.contains(std::string(tensor_class(spec)));
  }
  bool is_packed(const std::string& name) const { return quantization_.tensors.contains(name); }
  int64_t packed_bytes(const TensorSpec& spec) const {
    return static_cast<int64_t>(
        device_->quantized_bytes(spec.shape[0], spec.shape[1], quantization_.tensors.at(spec.name)));
  }
  void progress(uint64_t done) const {
    if (options_.progress) options_.progress("quantizing", done, total_);
  }

  void fill(const Declaration& declaration, SafetensorsWriter& writer) {
    const TensorSpec& spec = specs_.at(declaration.name);
    if (!is_packed(spec.name)) {
      const Tensor stored = source_.read(spec);
      const Tensor written = stored.dtype() == declaration.dtype ? stored : stored.to(declaration.dtype);
      writer.append(written.raw(), written.nbytes());
      source_.release(spec);
      return;
    }
    while (!ready_.contains(spec.name)) quantize_next();
    const auto bytes = ready_.at(spec.name)->packed();
    writer.append(bytes.data(), bytes.size());
    ready_.erase(spec.name);
  }

  /// The embedding, then the layers in order, then the head: each needs what those before it did to the text.
  void quantize_next() {
    const int64_t stage = next_stage_++;
    if (stage == 0) {
      embedding();
    } else if (stage <= config_.num_hidden_layers) {
      layer(stage - 1);
    } else {
      head();
    }
  }

  void embedding() {
    const TensorSpec& spec = specs_.at(kEmbeddingName);
    if (is_packed(spec.name)) quantize(spec, nullptr);
    if (!calibrates()) return;
    std::shared_ptr<const LinearWeight> table;
    if (is_packed(spec.name) && options_.sequential) {
      table = ready_.at(spec.name);
    } else {
      table = device_->pack_embedding(source_.read(spec), WeightFormat::f32);
    }
    const auto width = static_cast<size_t>(config_.hidden_size);
    hidden_.resize(options_.calibration.size() * width);
    for (size_t i = 0; i < options_.calibration.size(); ++i) {
      device_->unpack_linear(*table, options_.calibration[i], 1, hidden_.data() + i * width);
    }
  }

  void layer(int64_t index) {
    std::vector<TensorSpec> matrices;
    for (const auto& [name, spec] : specs_) {
      if (name.starts_with(layer_prefix(index)) && is_packed(name)) matrices.push_back(spec);
    }
    if (!calibrates()) {
      for (const TensorSpec& spec : matrices) quantize(spec, nullptr);
      return;
    }
    std::map<std::string, SecondMoment> moments;
    for (const TensorSpec& spec : matrices) moments.try_emplace(statistics_name(spec.name), spec.shape[1], part());
    std::vector<float> outputs = hidden_;
    LayerModel(config_, index, device_, [&](const TensorSpec& spec) {
      return WeightTensor(source_.read(spec));
    }).run(outputs, options_.window, [&](const std::string& name, const backend::Matrix& in) {
      const auto found = moments.find(name);
      if (found != moments.end()) found->second.add(*device_, in);
    });
    // Matrices of the same inputs one after the other, so that the inputs' factor is made once and then let go of.
    std::stable_sort(matrices.begin(), matrices.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return statistics_name(a.name) < statistics_name(b.name);
    });
    for (const TensorSpec& spec : matrices) quantize(spec, &moments.at(statistics_name(spec.name)));
    feedback_.reset();
    if (options_.sequential) {
      LayerModel(config_, index, device_, [&](const TensorSpec& spec) {
        if (!is_packed(spec.name)) return WeightTensor(source_.read(spec));
        const auto& weight = ready_.at(spec.name);
        const auto bytes = weight->packed();
        return WeightTensor(
            device_->adopt_quantized(spec.shape[0], spec.shape[1], weight->format(), {weight, bytes.data()}));
      }).run(hidden_, options_.window, {});
    } else {
      hidden_ = std::move(outputs);
    }
  }

  void head() {
    const TensorSpec& spec = specs_.at(kHeadName);
    if (!calibrates()) {
      quantize(spec, nullptr);
      return;
    }
    const Tensor norm = source_.read(specs_.at(kFinalNormName)).to(DType::f32);
    const backend::Buffer weight = device_->upload_vector(norm.data<float>());
    const int64_t width = config_.hidden_size;
    const int64_t rows = static_cast<int64_t>(hidden_.size()) / width;
    SecondMoment moment(width, part());
    for (int64_t first = 0; first < rows; first += options_.window) {
      const int64_t count = std::min(options_.window, rows - first);
      const backend::Buffer buffer = device_->allocate(static_cast<size_t>(count * width) * sizeof(float));
      const backend::Matrix matrix{buffer.floats(), count, width, width};
      device_->upload_rows(hidden_.data() + first * width, width, matrix);
      device_->rms_norm(matrix, weight.floats(), static_cast<float>(config_.rms_norm_eps), matrix);
      moment.add(*device_, matrix);
    }
    quantize(spec, &moment);
    feedback_.reset();
  }

  void quantize(const TensorSpec& spec, const SecondMoment* moment) {
    progress(done_);
    const WeightFormat format = quantization_.tensors.at(spec.name);
    const Tensor weight = source_.read(spec);
    try {
      ready_[spec.name] = device_->pack_quantized(quantized(format, weight, moment));
    } catch (const Error& error) {
      throw Error(error.code(), str(directory_.string(), ": ", spec.name, ": ", error.what()));
    }
    source_.release(spec);
    done_ += static_cast<uint64_t>(shape_numel(spec.shape));
  }

  QuantizedMatrix quantized(WeightFormat format, const Tensor& weight, const SecondMoment* moment) {
    if (options_.method == QuantizeMethod::nearest) return quantize_nearest(format, weight, pool_);
    if (moment == nullptr) return quantize_searched(format, weight, {}, pool_);
    if (options_.method == QuantizeMethod::search) {
      return quantize_searched(format, weight, moment->diagonal(), pool_);
    }
    if (!feedback_ || factored_ != moment) {
      feedback_.reset();
      feedback_.emplace(*device_, pool_, *moment);
      factored_ = moment;
    }
    return feedback_->quantize(format, weight);
  }

  const QuantizeOptions& options_;
  ThreadPool pool_;
  fs::path directory_;
  BambaConfig config_;
  std::shared_ptr<backend::Backend> device_;
  PretrainedSource source_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  QuantizationConfig quantization_;
  std::vector<Declaration> packed_;  ///< in the model's order
  std::vector<Declaration> others_;

  int64_t next_stage_ = 0;
  std::vector<float> hidden_;  ///< the calibration text's hidden states before the next stage
  std::map<std::string, std::shared_ptr<LinearWeight>, std::less<>> ready_;  ///< packed, not yet written
  std::optional<FeedbackQuantizer> feedback_;
  const SecondMoment* factored_ = nullptr;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

const std::vector<std::string>& quantizable_classes() {
  return tensor_classes();
}

void quantize_checkpoint(const fs::path& source, const fs::path& target, const QuantizeOptions& options) {
  std::error_code error;
  if (fs::equivalent(source, target, error)) {
    fail(ErrorCode::invalid_argument, "the quantized checkpoint cannot replace its own source, ", source.string());
  }
  for (const std::string& name : options.only) {
    const auto& known = tensor_classes();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      fail(ErrorCode::invalid_argument, "there is no class of matrices ", quote(name));
    }
  }
  if (options.weights == WeightFormat::fp8) return write_fp8_checkpoint(source, target, options);
  CheckpointQuantizer(source, options).write(target);
}

}  // namespace bamba
