// Writing checkpoint folders: of a loaded model, and of a new one that is never held in memory.
#include <algorithm>

#include "base/file.h"
#include "base/str.h"
#include "io/checkpoint.h"
#include "model/model_impl.h"
#include "model/random_weights.h"

namespace bamba {
namespace {

using Declaration = SafetensorsWriter::Declaration;

/// Elements converted at a time.
constexpr int64_t kPieceElements = 1 << 22;

void check_dtype(DType dtype) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
    fail(ErrorCode::invalid_argument, "weights cannot be saved as ", dtype_safetensors_name(dtype),
         "; F32, F16 and BF16 can");
  }
}

std::vector<Declaration> declarations(const std::vector<TensorSpec>& specs, DType dtype) {
  std::vector<Declaration> out;
  out.reserve(specs.size());
  for (const TensorSpec& spec : specs) out.push_back({spec.name, dtype, spec.shape});
  return out;
}

void make_directory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error || !std::filesystem::is_directory(directory)) {
    fail(ErrorCode::io, "cannot make the folder ", directory.string(), ": ",
         error ? error.message() : "a file of that name is there");
  }
}

void write_config(const std::filesystem::path& directory, BambaConfig config, DType dtype) {
  config.dtype = dtype;
  write_file_atomically(directory / "config.json", config.to_json());
}

}  // namespace

void BambaForCausalLM::save_pretrained(const std::filesystem::path& directory, const SaveOptions& options) const {
  BambaModel::Impl& model = model_.impl();
  const std::lock_guard lock(model.mutex);
  const DType dtype = options.dtype.value_or(storage_type(model.format));
  check_dtype(dtype);
  make_directory(directory);
  const std::vector<TensorSpec> specs = tensor_specs(model.config);
  uint64_t done = 0;
  const auto total = static_cast<uint64_t>(model.config.parameter_count());
  std::vector<float> rows;
  save_checkpoint(directory, declarations(specs, dtype), options.max_shard_bytes,
                  [&](const Declaration& declaration, SafetensorsWriter& writer) {
                    if (model.options.progress) model.options.progress("saving weights", done, total);
                    done += static_cast<uint64_t>(shape_numel(declaration.shape));
                    const auto vector = model.weights.vectors.find(declaration.name);
                    if (vector != model.weights.vectors.end()) {
                      const Tensor converted = vector->second.to(dtype);
                      writer.append(converted.raw(), converted.nbytes());
                      return;
                    }
                    const backend::LinearWeight& matrix = *model.weights.matrices.at(declaration.name);
                    const int64_t width = matrix.in_features();
                    const int64_t block = std::max<int64_t>(1, kPieceElements / width);
                    for (int64_t first = 0; first < matrix.out_features(); first += block) {
                      const int64_t count = std::min(block, matrix.out_features() - first);
                      rows.resize(static_cast<size_t>(count * width));
                      model.device->unpack_linear(matrix, first, count, rows.data());
                      const Tensor converted = Tensor::from(std::span<const float>(rows), {count, width}).to(dtype);
                      writer.append(converted.raw(), converted.nbytes());
                    }
                  });
  BambaConfig config = model.config;
  config.drop_extra_key("quantization_config");  // what is written is not quantized any more
  write_config(directory, std::move(config), dtype);
  if (model.generation_config) {
    write_file_atomically(directory / "generation_config.json", *model.generation_config);
  }
  if (model.options.progress) model.options.progress("saving weights", total, total);
}

void init_checkpoint(const std::filesystem::path& directory, const BambaConfig& config, const InitOptions& init,
                     DType dtype, uint64_t max_shard_bytes, const ProgressCallback& progress) {
  config.validate();
  check_dtype(dtype);
  make_directory(directory);
  const std::vector<TensorSpec> specs = tensor_specs(config);
  const RandomWeights random(config, init, dtype);
  ThreadPool pool(0);
  uint64_t done = 0;
  const auto total = static_cast<uint64_t>(config.parameter_count());
  size_t next = 0;
  std::vector<std::byte> piece;
  constexpr int64_t kTaskElements = 1 << 16;
  save_checkpoint(directory, declarations(specs, dtype), max_shard_bytes,
                  [&](const Declaration&, SafetensorsWriter& writer) {
                    const TensorSpec& spec = specs.at(next++);
                    const int64_t count = shape_numel(spec.shape);
                    for (int64_t first = 0; first < count; first += kPieceElements) {
                      if (progress) progress("writing random weights", done, total);
                      const int64_t n = std::min(kPieceElements, count - first);
                      piece.resize(static_cast<size_t>(n) * dtype_size(dtype));
                      pool.parallel_for((n + kTaskElements - 1) / kTaskElements, [&](int64_t task, int) {
                        const int64_t offset = task * kTaskElements;
                        random.fill(spec, first + offset, std::min(kTaskElements, n - offset),
                                    piece.data() + static_cast<size_t>(offset) * dtype_size(dtype));
                      });
                      writer.append(piece.data(), piece.size());
                      done += static_cast<uint64_t>(n);
                    }
                  });
  write_config(directory, config, dtype);
  if (progress) progress("writing random weights", total, total);
}

}  // namespace bamba
