// Any text as a model.safetensors.index.json: either an Error(invalid_checkpoint), or plain file names; and opening the
// folder, where two small shards lie, gives tensors or an Error.
#include <bamba/error.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "folder.h"
#include "io/checkpoint.h"

using namespace bamba;

namespace {

const std::filesystem::path& prepared_folder() {
  static const FuzzFolder folder;
  static const bool ready = [] {
    const Tensor tensor = Tensor::zeros(DType::f32, {2});
    save_safetensors(folder.path() / "a", {{"x", tensor}, {"y", tensor}});
    save_safetensors(folder.path() / "b", {{"z", tensor}});
    return true;
  }();
  static_cast<void>(ready);
  return folder.path();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& [tensor, file] : parse_checkpoint_index(text, "input")) {
      if (file.empty() || std::filesystem::path(file).filename() != file || file == "..") std::abort();
    }
    const auto& directory = prepared_folder();
    std::FILE* index = std::fopen((directory / "model.safetensors.index.json").c_str(), "wb");
    if (index == nullptr || std::fwrite(data, 1, size, index) != size || std::fclose(index) != 0) std::abort();
    const Checkpoint checkpoint = Checkpoint::open(directory);
    for (const auto& name : checkpoint.names()) {
      if (checkpoint.tensor(name).nbytes() != 8) std::abort();
    }
  } catch (const Error& error) {
    // Opening "." or the index itself as a shard may also be refused by the system.
    if (error.code() != ErrorCode::invalid_checkpoint && error.code() != ErrorCode::io) std::abort();
  }
  return 0;
}
