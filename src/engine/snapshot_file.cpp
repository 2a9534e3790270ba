#include "engine/snapshot_file.h"

#include <array>
#include <map>
#include <optional>

#include "base/checksum.h"
#include "base/hex.h"
#include "base/str.h"
#include "io/safetensors.h"
#include "model/host_snapshot.h"

namespace bamba {
namespace {

constexpr const char* kVersion = "1";
constexpr std::string_view kPrefix = "state-";
constexpr std::string_view kSuffix = ".safetensors";
constexpr std::array kKindNames = {"stride", "junction", "prompt_end", "reply_end"};  ///< by SnapshotKind

/// Covers what the header says of the ids, too.
std::string ids_checksum(std::span<const int64_t> ids, const char* kind, const SnapshotOwner& owner) {
  Checksum64 sum;
  sum.add(ids.data(), ids.size_bytes());
  sum.add(str(kind, '\n', owner.identity, '\n', owner.layout));
  return hex(sum.value());
}

class SnapshotReader {
 public:
  SnapshotReader(const std::filesystem::path& path, const SnapshotOwner& owner)
      : owner_(owner), file_(SafetensorsFile::open(path)) {}

  SnapshotInfo info() const {
    if (metadata("bamba_snapshot") != kVersion) reject("it is of another version of the format");
    if (metadata("identity") != owner_.identity || metadata("layout") != owner_.layout) {
      reject("the snapshot is of another model, or of this one run in another way");
    }
    SnapshotInfo out;
    const std::string& kind = metadata("kind");
    for (size_t i = 0; i < kKindNames.size(); ++i) {
      if (kind == kKindNames[i]) out.kind = static_cast<SnapshotKind>(i);
    }
    const Tensor ids = tensor("ids", DType::i64);
    out.ids.assign(ids.data<int64_t>().begin(), ids.data<int64_t>().end());
    if (metadata("ids_checksum") != ids_checksum(out.ids, kKindNames[static_cast<size_t>(out.kind)], owner_)) {
      reject("its token ids are damaged");
    }
    return out;
  }

  HostSnapshot state(const SnapshotInfo& info) const {
    const Tensor bytes = tensor("state", DType::u8);
    Checksum64 sum;
    sum.add(bytes.raw(), bytes.nbytes());
    if (metadata("checksum") != hex(sum.value())) reject("its state is damaged");
    auto out = std::make_shared<HostSnapshot::Impl>();
    out->layout = owner_.layout;
    out->length = static_cast<int64_t>(info.ids.size());
    out->parts.emplace_back(static_cast<const std::byte*>(bytes.raw()), bytes.nbytes());
    out->memory = file_.file();
    return HostSnapshot(std::move(out));
  }

 private:
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ErrorCode::invalid_file, file_.path().string(), ": ", parts...);
  }
  const std::string& metadata(const char* key) const {
    const auto found = file_.header().metadata.find(key);
    if (found == file_.header().metadata.end()) reject("its metadata has no \"", key, '"');
    return found->second;
  }
  Tensor tensor(const char* name, DType type) const {
    if (!file_.contains(name)) reject("the tensor ", name, " is missing");
    Tensor out = file_.tensor(name);
    if (out.dtype() != type || out.rank() != 1) reject("the tensor ", name, " is ", out.describe());
    return out;
  }

  const SnapshotOwner& owner_;
  SafetensorsFile file_;
};

}  // namespace

std::string snapshot_file_name(std::span<const int64_t> ids) {
  Checksum64 sum;
  sum.add(ids.data(), ids.size_bytes());
  return str(kPrefix, hex(sum.value()), '-', ids.size(), kSuffix);
}

bool is_snapshot_file_name(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  const size_t dash = name.find('-');
  if (dash == 0 || dash == std::string_view::npos || dash + 1 == name.size()) return false;
  return name.substr(0, dash).find_first_not_of("0123456789abcdef") == std::string_view::npos &&
         name.substr(dash + 1).find_first_not_of("0123456789") == std::string_view::npos;
}

uint64_t snapshot_file_bytes(size_t state_bytes, size_t tokens, const std::string& identity) {
  constexpr size_t kHeader = 2048;  // the names, the checksums and the layout
  return state_bytes + tokens * sizeof(int64_t) + 2 * identity.size() + kHeader;
}

uint64_t write_snapshot_file(const std::filesystem::path& path, const HostSnapshot& snapshot,
                             std::span<const int64_t> ids, SnapshotKind kind, const SnapshotOwner& owner) {
  const char* kind_name = kKindNames[static_cast<size_t>(kind)];
  Checksum64 sum;
  for (const auto& part : snapshot.impl().parts) sum.add(part.data(), part.size());
  const std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                       {"bamba_snapshot", kVersion},
                                                       {"identity", owner.identity},
                                                       {"layout", owner.layout},
                                                       {"kind", kind_name},
                                                       {"ids_checksum", ids_checksum(ids, kind_name, owner)},
                                                       {"checksum", hex(sum.value())}};
  SafetensorsWriter writer(path,
                           {{"ids", DType::i64, {static_cast<int64_t>(ids.size())}},
                            {"state", DType::u8, {static_cast<int64_t>(snapshot.bytes())}}},
                           metadata);
  writer.append(ids.data(), ids.size_bytes());
  for (const auto& part : snapshot.impl().parts) writer.append(part.data(), part.size());
  writer.commit();
  return std::filesystem::file_size(path);
}

SnapshotInfo read_snapshot_info(const std::filesystem::path& path, const SnapshotOwner& owner) {
  return SnapshotReader(path, owner).info();
}

HostSnapshot read_snapshot_file(const std::filesystem::path& path, const SnapshotOwner& owner, SnapshotInfo& info) {
  const SnapshotReader reader(path, owner);
  info = reader.info();
  return reader.state(info);
}

}  // namespace bamba
