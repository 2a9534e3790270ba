// A conversation on disk: a SequenceState and the ids it has read (or will read next), in one file.
#pragma once

#include <bamba/model.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bamba::cli {

struct Session {
  SequenceState state;
  /// The first state.length() ids are inside the state; any further ones are still to be read.
  std::vector<int64_t> ids;
  std::string messages;  ///< chat's messages as JSON; may be empty
};

/// A state file as SequenceState::save() writes it, with a tensor of the ids added. Written atomically.
void save_session(const std::filesystem::path& path, const Session& session);
/// Throws Error(invalid_file) when it is damaged, another model's, or has no ids.
Session load_session(const std::filesystem::path& path, const BambaModel& model);

}  // namespace bamba::cli
