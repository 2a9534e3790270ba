// The innards of a HostSnapshot.
#pragma once

#include <bamba/sequence_state.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/state_context.h"

namespace bamba {

struct HostSnapshot::Impl {
  std::string layout;  ///< what the bytes mean: state_layout() of the model
  int64_t length = 0;
  /// One after the other, the contents of the state's buffers: for each Mamba layer window and ssm, for each attention
  /// layer the pages that `length` tokens fill.
  std::vector<std::span<const std::byte>> parts;
  std::vector<backend::Buffer> buffers;  ///< parts[i] is buffers[i], where those are host memory; else empty
  std::shared_ptr<const void> memory;    ///< holds the parts otherwise
};

/// Tells whose bytes can be taken back as they are: the model, the device's layout of states, the format of its pages.
std::string state_layout(const StateContext& context);

/// Bytes of all parts of a snapshot of `length` tokens.
size_t snapshot_bytes(const StateContext& context, int64_t length);

/// BambaModel::restore(). Also takes a snapshot whose parts are cut differently, such as a file's single one.
SequenceState restore_snapshot(const std::shared_ptr<const StateContext>& context, const HostSnapshot& snapshot);

}  // namespace bamba
