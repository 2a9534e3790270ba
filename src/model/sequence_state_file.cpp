// Sequence states on disk: a safetensors file with one tensor a cache entry, in the shapes of the public accessors.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/hex.h"
#include "base/str.h"
#include "io/safetensors.h"
#include "model/sequence_state_impl.h"
#include "model/transpose.h"

namespace bamba {
namespace {

constexpr const char* kVersion = "1";
/// Longer than any sequence that can be made. Without attention layers no tensor's shape vouches for the length.
constexpr int64_t kMaxLength = int64_t{1} << 40;

std::string name_of(int64_t layer, const char* part) {
  return str("cache.", layer, '.', part);
}

/// FNV-1a over the 32-bit words of all tensors in order: a flipped bit on disk must not become a wrong continuation.
class Checksum {
 public:
  void add(const Tensor& tensor) {
    const auto* words = static_cast<const char*>(tensor.raw());
    for (size_t i = 0; i < tensor.nbytes(); i += sizeof(uint32_t)) {
      uint32_t word = 0;
      std::memcpy(&word, words + i, std::min(sizeof(word), tensor.nbytes() - i));  // bf16 may end with half a word
      hash_ = (hash_ ^ word) * 0x100000001B3ULL;
      hash_ ^= hash_ >> 32;
    }
  }
  std::string text() const { return hex(hash_); }

 private:
  uint64_t hash_ = 0xCBF29CE484222325ULL;
};

class StateFile {
 public:
  explicit StateFile(const std::filesystem::path& path) : path_(path.string()), file_(SafetensorsFile::open(path)) {}

  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ErrorCode::invalid_file, path_, ": ", parts...);
  }

  std::string metadata(const char* key) const {
    const auto found = file_.header().metadata.find(key);
    if (found == file_.header().metadata.end()) {
      reject("not a saved sequence state: its metadata has no \"", key, '"');
    }
    return found->second;
  }

  int64_t length() const {
    const std::string text = metadata("length");
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > kMaxLength) {
      reject("length is \"", text, "\"; it must be a count of tokens, at most ", kMaxLength);
    }
    return value;
  }

  Tensor take(const std::string& name, const Shape& shape) {
    Tensor tensor = existing(name);
    if (tensor.dtype() != DType::f32 || tensor.shape() != shape) {
      reject("the tensor ", name, " is ", tensor.describe(), "; this model's is F32 ", list_str<int64_t>(shape));
    }
    checksum_.add(tensor);
    return tensor;
  }

  /// Keys or values, which a model with pages in bf16 saved as such; in f32.
  Tensor take_kv(const std::string& name, const Shape& shape) {
    Tensor tensor = existing(name);
    if ((tensor.dtype() != DType::f32 && tensor.dtype() != DType::bf16) || tensor.shape() != shape) {
      reject("the tensor ", name, " is ", tensor.describe(), "; this model's is F32 or BF16 ",
             list_str<int64_t>(shape));
    }
    checksum_.add(tensor);
    return tensor.to(DType::f32);
  }

  void check_sum() const {
    if (metadata("checksum") != checksum_.text()) reject("the file is damaged: its checksum does not fit its tensors");
  }

 private:
  Tensor existing(const std::string& name) const {
    if (!file_.contains(name)) reject("the tensor ", name, " is missing");
    return file_.tensor(name);
  }

  std::string path_;
  SafetensorsFile file_;
  Checksum checksum_;
};

}  // namespace

void save_sequence_state(const SequenceState& state, const std::filesystem::path& path, const NamedTensors& more,
                         const std::map<std::string, std::string>& more_metadata) {
  if (!state) fail(ErrorCode::invalid_argument, "an empty SequenceState cannot be saved to ", path.string());
  const StateContext& context = *state.impl().context;
  NamedTensors tensors;
  for (int64_t layer = 0; layer < context.config.num_hidden_layers; ++layer) {
    if (context.config.layer_type(layer) == LayerType::mamba) {
      tensors.emplace_back(name_of(layer, "conv_state"), state.conv_state(layer));
      tensors.emplace_back(name_of(layer, "ssm_state"), state.ssm_state(layer));
    } else {
      auto [keys, values] = keys_and_values(state.impl(), layer);
      // Pages in bf16 are saved as bf16: half the file, and exact.
      const DType type = context.attention.kv == KvFormat::bf16 ? DType::bf16 : DType::f32;
      tensors.emplace_back(name_of(layer, "key"), keys.to(type));
      tensors.emplace_back(name_of(layer, "value"), values.to(type));
    }
  }
  Checksum checksum;
  for (const auto& [name, tensor] : tensors) checksum.add(tensor);
  std::map<std::string, std::string> metadata = more_metadata;
  metadata["format"] = "pt";
  metadata["bamba_sequence_state"] = kVersion;
  metadata["length"] = str(state.length());
  metadata["model"] = hex(context.fingerprint);
  metadata["checksum"] = checksum.text();
  tensors.insert(tensors.end(), more.begin(), more.end());
  save_safetensors(path, tensors, metadata);
}

void SequenceState::save(const std::filesystem::path& path) const {
  save_sequence_state(*this, path, {}, {});
}

SequenceState load_sequence_state(const std::shared_ptr<const StateContext>& context,
                                  const std::filesystem::path& path) {
  StateFile file(path);
  const std::string version = file.metadata("bamba_sequence_state");
  if (version != kVersion) {
    file.reject("the state's version is ", version, "; this program reads version ", kVersion);
  }
  if (file.metadata("model") != hex(context->fingerprint)) {
    file.reject("the state was saved from another model (or from other weights of the same shape)");
  }
  const int64_t length = file.length();
  // The file must hold the keys and values of all tokens before memory for them is taken.
  const BambaConfig& config = context->config;
  const auto& conv = context->conv;
  const auto& scan = context->scan;
  const auto& attention = context->attention;
  std::vector<Tensor> tensors;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    if (config.layer_type(layer) == LayerType::mamba) {
      tensors.push_back(file.take(name_of(layer, "conv_state"), {conv.channels, conv.width}));
      tensors.push_back(file.take(name_of(layer, "ssm_state"), {scan.n_heads, scan.d_head, scan.d_state}));
    } else {
      const Shape shape{attention.n_kv_heads, length, attention.head_dim};
      tensors.push_back(file.take_kv(name_of(layer, "key"), shape));
      tensors.push_back(file.take_kv(name_of(layer, "value"), shape));
    }
  }
  file.check_sum();

  backend::Backend& device = *context->backend;
  auto impl = std::make_unique<SequenceState::Impl>(context);
  impl->prepare(length);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto index = context->index_in_kind[static_cast<size_t>(layer)];
    const auto first = tensors[static_cast<size_t>(2 * layer)].data<float>();
    const auto second = tensors[static_cast<size_t>(2 * layer + 1)].data<float>();
    if (config.layer_type(layer) == LayerType::attention) {
      device.kv_write(impl->attention[index].page_pointers.data(), length, attention, first.data(), second.data());
      continue;
    }
    std::vector<float> window(first.size());
    transpose(first.data(), conv.channels, conv.width, window.data());
    std::vector<float> ssm(second.size());
    transpose_each(second.data(), scan.n_heads, scan.d_head, scan.d_state, ssm.data());
    device.upload(impl->mamba[index].window, 0, window.data(), window.size() * sizeof(float));
    device.upload(impl->mamba[index].ssm, 0, ssm.data(), ssm.size() * sizeof(float));
  }
  impl->length = length;
  return SequenceState(std::move(impl));
}

}  // namespace bamba
