#include "io/safetensors.h"

#include <cstdint>
#include <cstring>

#include "base/str.h"

namespace bamba {

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile out;
  out.file_ = MappedFile::open(path);
  const std::string_view bytes(reinterpret_cast<const char*>(out.file_->data()), out.file_->size());
  out.header_ = parse_safetensors_header(bytes, path.string());
  return out;
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) {
    fail(ErrorCode::invalid_checkpoint, path().string(), ": there is no tensor ", quote(name));
  }
  const SafetensorsEntry& entry = found->second;
  const std::byte* data = file_->data() + entry.begin;
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(entry.dtype) == 0) {
    return Tensor::view(entry.dtype, entry.shape, data, file_);
  }
  Tensor copy = Tensor::empty(entry.dtype, entry.shape);
  if (entry.bytes > 0) std::memcpy(copy.raw(), data, entry.bytes);
  return copy;
}

}  // namespace bamba
