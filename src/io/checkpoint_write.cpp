// Saving a checkpoint folder's weights so that a failure leaves the older ones.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/str.h"
#include "io/checkpoint.h"
#include "io/checkpoint_names.h"
#include "io/safetensors_format.h"

namespace bamba {
namespace {

namespace fs = std::filesystem;
using Declaration = SafetensorsWriter::Declaration;

/// One file to be: its name, and which of the declared tensors it gets.
struct Shard {
  std::string name;
  std::vector<Declaration> tensors;
  uint64_t bytes = 0;
};

std::vector<Shard> cut_into_shards(const fs::path& directory, const std::vector<Declaration>& tensors,
                                   uint64_t max_shard_bytes) {
  std::vector<Shard> shards(1);
  for (const Declaration& tensor : tensors) {
    const bool negative = std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t d) { return d < 0; });
    const auto bytes = negative ? std::nullopt : tensor_bytes(tensor.dtype, tensor.shape);
    if (!bytes) {
      fail(ErrorCode::invalid_argument, "cannot save to ", directory, ": tensor ", quote(tensor.name),
           " has the shape ", list_str<int64_t>(tensor.shape), ", which no file can hold");
    }
    Shard* shard = &shards.back();
    const bool fits = *bytes <= max_shard_bytes && shard->bytes <= max_shard_bytes - *bytes;
    if (!fits && !shard->tensors.empty()) shard = &shards.emplace_back();
    shard->tensors.push_back(tensor);
    shard->bytes += *bytes;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1 ? std::string(kSingleFile) : shard_name(i + 1, shards.size());
  }
  return shards;
}

std::string index_text(const std::vector<Shard>& shards) {
  uint64_t total = 0;
  std::map<std::string_view, std::string_view> weight_map;
  for (const Shard& shard : shards) {
    total += shard.bytes;
    for (const Declaration& tensor : shard.tensors) {
      if (!weight_map.emplace(tensor.name, shard.name).second) {
        fail(ErrorCode::invalid_argument, "cannot save a checkpoint: tensor ", quote(tensor.name), " is given twice");
      }
    }
  }
  Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
  for (const auto& [tensor, file] : weight_map) {
    append_key(index["weight_map"], std::string(tensor), std::string(file));
  }
  return index.dump(2) + "\n";
}

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) fail(ErrorCode::io, "cannot remove ", path, ": ", error.message());
}

/// Weights of an older checkpoint that are not part of the one just written.
void remove_older_shards(const fs::path& directory, const std::set<std::string, std::less<>>& kept) {
  std::vector<fs::path> stale;
  std::error_code error;
  for (fs::directory_iterator file(directory, error), end; !error && file != end; file.increment(error)) {
    const std::string name = file->path().filename().string();
    if (is_shard_name(name) && !kept.contains(name)) stale.push_back(file->path());
  }
  if (error) fail(ErrorCode::io, "cannot list ", directory, ": ", error.message());
  for (const fs::path& path : stale) remove_file(path);
}

}  // namespace

std::string shard_name(size_t number, size_t count) {
  const auto padded = [](size_t value) {
    const std::string digits = std::to_string(value);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "model-" + padded(number) + "-of-" + padded(count) + ".safetensors";
}

bool is_shard_name(std::string_view name) {
  const auto take = [&](std::string_view word) {
    const bool there = name.starts_with(word);
    if (there) name.remove_prefix(word.size());
    return there;
  };
  const auto take_number = [&] {
    const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    name.remove_prefix(digits);
    return digits >= 5;
  };
  return take("model-") && take_number() && take("-of-") && take_number() && name == ".safetensors";
}

void save_checkpoint(const fs::path& directory, const std::vector<Declaration>& tensors, uint64_t max_shard_bytes,
                     const std::function<void(const Declaration&, SafetensorsWriter&)>& fill,
                     const std::function<void()>& before_renaming) {
  if (max_shard_bytes == 0) fail(ErrorCode::invalid_argument, "max_shard_bytes is 0; it must be at least 1");
  if (tensors.empty()) fail(ErrorCode::invalid_argument, "cannot save to ", directory, ": there is no tensor to save");
  const std::vector<Shard> shards = cut_into_shards(directory, tensors, max_shard_bytes);
  const std::string index = index_text(shards);
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(ErrorCode::io, "cannot make the folder ", directory, ": ", error.message());

  std::vector<std::unique_ptr<SafetensorsWriter>> writers;
  for (const Shard& shard : shards) {
    auto& writer = writers.emplace_back(std::make_unique<SafetensorsWriter>(directory / shard.name, shard.tensors));
    size_t expected = 0;
    for (const Declaration& tensor : shard.tensors) {
      expected += static_cast<size_t>(*tensor_bytes(tensor.dtype, tensor.shape));
      fill(tensor, *writer);
      if (writer->written() != expected) {
        fail(ErrorCode::internal, "cannot write ", directory / shard.name, ": tensor ", quote(tensor.name),
             " ended at ", writer->written(), " bytes of data instead of ", expected);
      }
    }
    writer->finish();
  }

  if (before_renaming) before_renaming();

  std::set<std::string, std::less<>> written;
  for (const Shard& shard : shards) written.insert(shard.name);
  if (shards.size() == 1) {
    // The single file is the checkpoint from the moment it bears its name, index or no index.
    writers[0]->commit();
    remove_file(directory / kIndexFile);
  } else {
    AtomicFile index_file(directory / kIndexFile);
    index_file.write(index);
    index_file.finish();
    const bool replaces = std::any_of(written.begin(), written.end(),
                                      [&](const std::string& name) { return fs::exists(directory / name, error); });
    // With shards of both checkpoints under the same names, no index is better than one that mixes them.
    if (replaces) remove_file(directory / kIndexFile);
    for (auto& writer : writers) writer->commit();
    index_file.commit();
    remove_file(directory / kSingleFile);
  }
  remove_older_shards(directory, written);
}

}  // namespace bamba
