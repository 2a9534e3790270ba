#include "quantize/replace_checkpoint.h"

#include "base/file.h"
#include "io/companions.h"

namespace bamba {

void replace_checkpoint(const std::filesystem::path& source, const std::filesystem::path& target,
                        const std::vector<SafetensorsWriter::Declaration>& tensors, uint64_t max_shard_bytes,
                        const std::function<void(const SafetensorsWriter::Declaration&, SafetensorsWriter&)>& fill,
                        const BambaConfig& config) {
  const std::filesystem::path config_file = target / "config.json";
  save_checkpoint(target, tensors, max_shard_bytes, fill, [&] { std::filesystem::remove(config_file); });
  copy_companions(source, target);
  write_file_atomically(config_file, config.to_json());
}

}  // namespace bamba
