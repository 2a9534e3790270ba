// SequenceState: all that a model remembers of one sequence. A value: it can be forked, snapshotted, saved, restored.
#pragma once

#include <bamba/tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>

namespace bamba {

class BambaForCausalLM;
class BambaModel;

/// All bytes of a SequenceState in host memory, exact and never changed again: what remains when the state itself, on
/// a GPU say, has to make way. Made by SequenceState::to_host(); BambaModel::restore() makes a state of it again. A
/// default-constructed one is empty (false). Copies share the bytes. May be read and dropped in any thread.
class HostSnapshot {
 public:
  HostSnapshot() = default;

  explicit operator bool() const { return impl_ != nullptr; }
  int64_t length() const;  ///< tokens; 0 when empty
  size_t bytes() const;    ///< of host memory; where states lie in host memory themselves it may be shared with them

  struct Impl;
  /// For the library's own rooms.
  explicit HostSnapshot(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// For each Mamba layer the last d_conv inputs of the convolution and the SSM state, both f32; for each attention
/// layer the keys (after rotary) and values, in pages. Made by BambaModel::new_state(); a default-constructed one is
/// empty (false) and can only be assigned to; none of its tensors may be asked for. Moving is cheap; copying is
/// explicit (fork()).
///
/// The model's forward reads and advances it. Not thread-safe: one forward at a time may use a state. On CUDA, what
/// reads or saves a state (to_host, save, the tensors) may not run while another thread runs a forward of the model.
class SequenceState {
 public:
  SequenceState();
  ~SequenceState();
  SequenceState(SequenceState&&) noexcept;
  SequenceState& operator=(SequenceState&&) noexcept;
  SequenceState(const SequenceState&) = delete;
  SequenceState& operator=(const SequenceState&) = delete;

  explicit operator bool() const { return impl_ != nullptr; }

  /// Tokens consumed so far; also the default position of the next one.
  int64_t length() const;

  /// A second state that continues from the same point. Memory is shared until one of the two goes on (copy on
  /// write: whole pages for keys and values, whole layers for Mamba states), so a fork is also a snapshot: keep it
  /// aside, and assign it back (or a fork of it) to roll back.
  SequenceState fork() const;

  /// Back to the empty sequence.
  void reset();

  /// Bytes of memory this state refers to; memory shared with forks counts in each of them.
  size_t bytes() const;

  /// The state as bytes in host memory. On the CPU nothing is copied: memory is shared, as with fork(), until the state
  /// goes on. Throws Error(invalid_argument) when the state is empty, Error(out_of_memory).
  HostSnapshot to_host() const;

  // Copies in Transformers' shapes, without the batch dimension. Throw Error(invalid_argument) for a layer of the
  // other kind, and when the state is empty (default-constructed or moved from).
  Tensor conv_state(int64_t layer) const;  ///< f32 [conv_dim, d_conv], oldest input first, zeros where none yet
  Tensor ssm_state(int64_t layer) const;   ///< f32 [n_heads, d_head, d_state]
  Tensor key(int64_t layer) const;         ///< f32 [num_key_value_heads, length, head_dim]
  Tensor value(int64_t layer) const;       ///< f32 [num_key_value_heads, length, head_dim]

  /// Writes a safetensors file (atomically) that BambaModel::load_state() restores bit for bit. Throws Error(io).
  void save(const std::filesystem::path& path) const;

  struct Impl;
  /// For the library's own rooms.
  explicit SequenceState(std::unique_ptr<Impl> impl);
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace bamba
