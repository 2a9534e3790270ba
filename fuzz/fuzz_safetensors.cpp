// Any bytes as a safetensors file: either an Error(invalid_checkpoint), or tensors that can be read to their last byte
// and that survive being written again.
#include <bamba/error.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "folder.h"
#include "io/checkpoint.h"

namespace {

using namespace bamba;

/// Touches every byte, so that a view past the file's end is found.
unsigned checksum(const Tensor& tensor) {
  const auto* bytes = static_cast<const unsigned char*>(tensor.raw());
  unsigned sum = 0;
  for (size_t i = 0; i < tensor.nbytes(); ++i) sum = sum * 31 + bytes[i];
  return sum;
}

void require(bool condition) {
  if (!condition) std::abort();
}

void check_header(std::string_view bytes) {
  const SafetensorsHeader header = parse_safetensors_header(bytes, "input");
  for (const auto& [name, entry] : header.tensors) {
    require(entry.begin <= bytes.size() && entry.bytes <= bytes.size() - entry.begin);
    require(static_cast<size_t>(shape_numel(entry.shape)) * dtype_size(entry.dtype) == entry.bytes);
  }
}

void check_folder(const std::filesystem::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  NamedTensors tensors;
  for (const std::string& name : checkpoint.names()) tensors.emplace_back(name, checkpoint.tensor(name));
  const auto copy = directory / "copy.safetensors";
  save_safetensors(copy, tensors, checkpoint.files().at(0).header().metadata);
  const SafetensorsFile again = SafetensorsFile::open(copy);
  require(again.header().tensors.size() == tensors.size());
  require(again.header().metadata == checkpoint.files().at(0).header().metadata);
  for (const auto& [name, tensor] : tensors) {
    const Tensor read = again.tensor(name);
    require(read.dtype() == tensor.dtype() && read.shape() == tensor.shape() && checksum(read) == checksum(tensor));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const FuzzFolder folder;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    check_header(bytes);
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_checkpoint);
    return 0;
  }
  folder.put("model.safetensors", bytes);
  check_folder(folder.path());
  return 0;
}
