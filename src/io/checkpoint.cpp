// Opening a checkpoint folder: one file, or shards held against the index that names them.
#include "io/checkpoint.h"

#include <set>
#include <system_error>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/warning.h"
#include "io/checkpoint_names.h"

namespace bamba {
namespace {

namespace fs = std::filesystem;

/// An index of 16 MiB names some hundred thousand tensors; real ones have a few hundred.
constexpr uint64_t kMaxIndexBytes = uint64_t{16} << 20;

/// Why a shard's name is not a plain file name, or null when it is one.
const char* name_fault(std::string_view name) {
  constexpr size_t kLongestName = 255;
  if (name.empty()) return "it must not be empty";
  if (name == "." || name == "..") return "it must name a file, not a folder";
  if (name.size() > kLongestName) return "it must have at most 255 bytes";
  for (const char c : name) {
    if (c == '/' || c == '\\') return "it must be a plain file name in the checkpoint's folder, without path parts";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return "it must have no control characters";
  }
  return nullptr;
}

/// Takes weight_map out of an index; everything else is passed over.
class IndexReader final : public JsonHandler {
 public:
  IndexReader(const std::string& origin, std::map<std::string, std::string, std::less<>>& out)
      : origin_(origin), out_(out) {}

  void begin_object() override {
    if (depth_ == 1 && wanted_) in_map_ = true;
    if (depth_ > 1) reject_nested("an object");
    ++depth_;
  }
  void end_object() override {
    --depth_;
    if (depth_ == 1) in_map_ = false;
  }
  void begin_array() override {
    if (depth_ == 0) fail(ErrorCode::invalid_checkpoint, origin_, ": the index is a list; it must be an object");
    if (depth_ == 1 && wanted_) reject_map("a list");
    if (depth_ > 1) reject_nested("a list");
    ++depth_;
  }
  void end_array() override { --depth_; }

  void key(std::string& name) override {
    if (depth_ == 1) {
      wanted_ = name == "weight_map";
      if (wanted_ && seen_) fail(ErrorCode::invalid_checkpoint, origin_, ": \"weight_map\" appears twice");
      seen_ = seen_ || wanted_;
    } else if (in_map_) {
      tensor_ = std::move(name);
    }
  }

  void value(Json&& scalar) override {
    if (depth_ == 0) {
      fail(ErrorCode::invalid_checkpoint, origin_, ": the index is ", printable(scalar.dump(), 40),
           "; it must be an object");
    }
    if (depth_ == 1 && wanted_) reject_map(printable(scalar.dump(), 40));
    if (!in_map_) return;
    if (!scalar.is_string()) reject_nested(printable(scalar.dump(), 40));
    auto& file = scalar.get_ref<std::string&>();
    if (const char* fault = name_fault(file)) {
      fail(ErrorCode::invalid_checkpoint, origin_, ": tensor ", quote(tensor_), " is in the file ", quote(file), "; ",
           fault);
    }
    const auto [place, fresh] = out_.try_emplace(std::move(tensor_), std::move(file));
    if (!fresh) fail(ErrorCode::invalid_checkpoint, origin_, ": tensor ", quote(place->first), " appears twice");
  }

  void finish() const {
    if (!seen_) fail(ErrorCode::invalid_checkpoint, origin_, ": there is no \"weight_map\" in the index");
    if (out_.empty()) fail(ErrorCode::invalid_checkpoint, origin_, ": \"weight_map\" names no tensor");
  }

 private:
  [[noreturn]] void reject_map(const std::string& what) const {
    fail(ErrorCode::invalid_checkpoint, origin_, ": \"weight_map\" is ", what,
         "; it must be an object from tensor names to file names");
  }
  /// Only inside weight_map are nested values wrong.
  void reject_nested(const std::string& what) const {
    if (!in_map_) return;
    fail(ErrorCode::invalid_checkpoint, origin_, ": tensor ", quote(tensor_), " is mapped to ", what,
         "; it must be a file name");
  }

  const std::string& origin_;
  std::map<std::string, std::string, std::less<>>& out_;
  std::string tensor_;
  int depth_ = 0;
  bool wanted_ = false;  // the document's latest key is weight_map
  bool in_map_ = false;
  bool seen_ = false;
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

std::map<std::string, std::string, std::less<>> parse_checkpoint_index(std::string_view json,
                                                                       const std::string& origin) {
  std::map<std::string, std::string, std::less<>> out;
  IndexReader reader(origin, out);
  scan_json(json, origin, ErrorCode::invalid_checkpoint, reader);
  reader.finish();
  return out;
}

Checkpoint Checkpoint::open(const fs::path& directory) {
  const fs::path single = directory / kSingleFile;
  const fs::path index = directory / kIndexFile;
  Checkpoint out;
  if (is_there(single)) {
    if (is_there(index)) warn(index.string(), " is not used, as there is also ", kSingleFile);
    out.files_.push_back(SafetensorsFile::open(single));
    for (const auto& [name, entry] : out.files_[0].header().tensors) out.location_.emplace(name, 0);
  } else if (is_there(index)) {
    out.open_shards(directory, index);
  } else {
    fail(ErrorCode::invalid_checkpoint, directory.string(), ": there is neither ", kSingleFile, " nor ", kIndexFile);
  }
  for (const auto& file : out.files_) {
    for (const auto& [name, entry] : file.header().tensors) out.total_bytes_ += entry.bytes;
  }
  return out;
}

void Checkpoint::open_shards(const fs::path& directory, const fs::path& index) {
  const auto weight_map = parse_checkpoint_index(read_file(index, kMaxIndexBytes), index.string());
  std::map<std::string_view, size_t> shards;
  for (const auto& [tensor, shard] : weight_map) {
    const auto [place, fresh] = shards.try_emplace(shard, files_.size());
    if (fresh) {
      if (!is_there(directory / shard)) {
        fail(ErrorCode::invalid_checkpoint, index.string(), ": the file ", quote(shard), ", which should hold tensor ",
             quote(tensor), ", is missing");
      }
      files_.push_back(SafetensorsFile::open(directory / shard));
    }
    location_.emplace(tensor, place->second);
  }
  // What the shards hold must be what the index says: first nothing more, then nothing less.
  for (size_t i = 0; i < files_.size(); ++i) {
    for (const auto& [tensor, entry] : files_[i].header().tensors) {
      const auto promised = weight_map.find(tensor);
      if (promised == weight_map.end()) {
        fail(ErrorCode::invalid_checkpoint, files_[i].path().string(), ": tensor ", quote(tensor),
             " is not in the index ", kIndexFile);
      }
      if (shards.at(promised->second) != i) {
        fail(ErrorCode::invalid_checkpoint, files_[i].path().string(), ": tensor ", quote(tensor),
             " is in this file, but the index ", kIndexFile, " puts it in ", quote(promised->second));
      }
    }
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (!files_[shards.at(shard)].contains(tensor)) {
      fail(ErrorCode::invalid_checkpoint, index.string(), ": tensor ", quote(tensor), " should be in ", quote(shard),
           ", which does not hold it");
    }
  }
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> out;
  out.reserve(location_.size());
  for (const auto& [name, file] : location_) out.push_back(name);
  return out;
}

const SafetensorsFile& Checkpoint::file_of(std::string_view name) const {
  const auto found = location_.find(name);
  if (found == location_.end()) {
    fail(ErrorCode::invalid_checkpoint, directory_of_files(), ": there is no tensor ", quote(name));
  }
  return files_[found->second];
}

std::string Checkpoint::directory_of_files() const {
  return files_.empty() ? "the checkpoint" : files_[0].path().parent_path().string();
}

const SafetensorsEntry& Checkpoint::entry(std::string_view name) const& {
  return file_of(name).header().tensors.find(name)->second;
}

Tensor Checkpoint::tensor(std::string_view name) const {
  return file_of(name).tensor(name);
}

void Checkpoint::will_need(std::string_view name) const {
  const SafetensorsEntry& where = entry(name);
  file_of(name).file()->will_need(where.begin, where.bytes);
}

void Checkpoint::release(std::string_view name) const {
  const SafetensorsEntry& where = entry(name);
  file_of(name).file()->dont_need(where.begin, where.bytes);
}

}  // namespace bamba
