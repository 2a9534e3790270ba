// BambaModel and BambaForCausalLM: loading, saving, and the forward pass in its two shapes.
//
//  * forward(sequences, ...): the ragged batch. Any number of sequences, each with its new tokens and its state;
//    nothing is padded. Everything else in the library is built on it.
//  * forward(ForwardInputs): Transformers' arguments and outputs, an adapter over the first.
//
// Results for a sequence do not depend on what else is in the batch, on how its tokens were cut into calls, or on the
// number of threads: on the CPU they are equal bit for bit.
#pragma once

#include <bamba/activation_format.h>
#include <bamba/cache.h>
#include <bamba/config.h>
#include <bamba/kv_format.h>
#include <bamba/machine.h>
#include <bamba/profile.h>
#include <bamba/progress.h>
#include <bamba/sequence_state.h>
#include <bamba/tensor.h>
#include <bamba/weight_format.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bamba {

/// Where and how a model runs.
struct RunOptions {
  std::string device = "cpu";           ///< "cpu" or "cuda"; Error(unsupported) where this build or machine has none
  int threads = 0;                      ///< 0: as many as the process may use
  std::optional<WeightFormat> weights;  ///< empty: the config's dtype, or else the tensors' own
  std::optional<KvFormat> kv;           ///< keys and values of attention layers; empty: default_kv_format(weights)
  /// Of products with bf16 weights; empty: f32 on the CPU, and on CUDA with f32 weights, bf16 otherwise on CUDA.
  std::optional<ActivationFormat> activations;
  std::optional<ScanForm> scan;  ///< empty: recurrent on the CPU, chunked on CUDA
  /// Longer inputs run in passes of at most this many tokens, which bounds the memory for activations; empty: 512 on
  /// the CPU, 8192 on CUDA. The result does not depend on it (on the CPU with ScanForm::recurrent bit for bit).
  std::optional<int64_t> pass_tokens;
  /// On CUDA: results that do not depend on the batch, nor on how a text is cut into calls, to the last bit; prompts
  /// take several times as long. On the CPU it is always so.
  bool bit_exact = false;
  size_t gpu_memory = 0;             ///< bytes that a GPU backend takes; 0: nine tenths of what is free
  ProgressCallback progress;         ///< bytes of weights loaded
  std::shared_ptr<Profile> profile;  ///< when given, every operation of the forwards is added to it
};

/// Which of a sequence's new tokens get logits.
enum class LogitsToKeep { none, last, all };

/// One sequence's share of a ragged batch.
struct SequenceInput {
  SequenceState* state = nullptr;         ///< read and advanced; each state at most once in a batch
  std::span<const int64_t> input_ids;     ///< new tokens, or else:
  Tensor inputs_embeds;                   ///< f32 [tokens, hidden_size]
  std::span<const int64_t> position_ids;  ///< one a token for the rotary embedding; empty: state->length() + 0, 1, ...
  LogitsToKeep logits = LogitsToKeep::last;
};

struct RaggedOptions {
  bool output_last_hidden_state = false;
  bool output_hidden_states = false;  ///< of all layers
  bool output_attentions = false;     ///< softmax weights
  bool best_ids_only = false;         ///< RaggedOutput::best_ids instead of logits, which then stay on the device
};

/// Rows follow the order of the sequences and of their tokens. A RaggedOutput may be passed again to the next call:
/// its memory is used again when the shapes fit (and copies of its tensors, which share it, change).
struct RaggedOutput {
  Tensor logits;  ///< f32 [kept tokens, vocab_size]; empty when none are kept
  /// With RaggedOptions::best_ids_only: for each kept token the id with the largest logit, the lowest of equals;
  /// where its logits are not all finite -1 - id of the first that is not.
  std::vector<int64_t> best_ids;
  Tensor last_hidden_state;           ///< f32 [tokens, hidden_size], after the final norm
  std::vector<Tensor> hidden_states;  ///< num_hidden_layers + 1 x f32 [tokens, hidden_size]
  /// [attention layer][sequence]: f32 [heads, new tokens, state length after the call]
  std::vector<std::vector<Tensor>> attentions;
};

/// The arguments of Transformers' BambaForCausalLM.forward. Exactly one of input_ids and inputs_embeds is given.
struct ForwardInputs {
  Tensor input_ids;      ///< i64 [batch, seq]
  Tensor inputs_embeds;  ///< f32 [batch, seq, hidden_size]
  /// i64 [batch, seq] or [batch, past + seq], 1 for real tokens, 0 for padding (left, right or anywhere). Padding is a
  /// no-op here: a padded row gives what the same row gives alone.
  Tensor attention_mask;
  /// i64 [batch, seq] or [1, seq]. Default: real tokens are counted on from what the cache holds.
  Tensor position_ids;
  std::shared_ptr<HybridMambaAttentionDynamicCache> past_key_values;  ///< advanced in place
  std::optional<bool> use_cache;  ///< default: the config's; true without past_key_values makes a new cache
  Tensor cache_position;          ///< i64 [seq]; must continue the cache. Without cache and mask: the positions
  Tensor labels;                  ///< i64 [batch, seq], -100 = ignored; shifted inside
  std::optional<int64_t> num_items_in_batch;  ///< divides the summed loss instead of the number of labels
  bool output_hidden_states = false;
  bool output_attentions = false;
  int64_t logits_to_keep = 0;   ///< 0: all; n: the last n columns (num_logits_to_keep in older Transformers)
  Tensor logits_to_keep_index;  ///< i64 [kept]: explicit columns instead; negative ones count from the end
};

/// Rows of padded positions hold zeros in every output.
struct BaseModelOutputWithPast {
  Tensor last_hidden_state;  ///< f32 [batch, seq, hidden_size]
  std::shared_ptr<HybridMambaAttentionDynamicCache> past_key_values;
  std::vector<Tensor> hidden_states;  ///< num_hidden_layers + 1 x f32 [batch, seq, hidden_size]
  std::vector<Tensor> attentions;     ///< one an attention layer: f32 [batch, heads, seq, past + seq]
};

/// hidden_states and attentions as in BaseModelOutputWithPast.
struct CausalLMOutputWithPast {
  Tensor loss;    ///< f32 [], when labels are given
  Tensor logits;  ///< f32 [batch, kept, vocab_size]
  std::shared_ptr<HybridMambaAttentionDynamicCache> past_key_values;
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;
};

struct SaveOptions {
  uint64_t max_shard_bytes = uint64_t{5'000'000'000};  ///< a larger checkpoint is split into files of at most this
  std::optional<DType> dtype;                          ///< f32, f16 or bf16; empty: the format the weights are held in
};

/// How from_config and init_checkpoint fill dt_bias.
enum class DtBiasInit {
  ones,              ///< Transformers' rule
  inverse_softplus,  ///< mamba-ssm's: softplus(dt_bias) log-uniform in [time_step_min, time_step_max]
};

/// How from_config and init_checkpoint draw matrices and convolutions.
enum class MatrixInit {
  normal,    ///< every value by itself
  repeated,  ///< a block of about a million values over and over, each tensor starting elsewhere in it: for measuring
             ///< speed, where billions of values should take seconds
};

struct InitOptions {
  uint64_t seed = 0;
  DtBiasInit dt_bias = DtBiasInit::ones;
  MatrixInit matrices = MatrixInit::normal;
};

/// What loading found and where the memory went.
struct ModelInfo {
  int64_t parameters = 0;
  size_t weight_bytes = 0;            ///< memory held by weights
  size_t weight_bytes_per_token = 0;  ///< read for one decoded token (an embedding counts one row)
  size_t state_bytes = 0;             ///< of a SequenceState, before any keys and values
  size_t kv_bytes_per_token = 0;      ///< growth of a SequenceState per token
  WeightFormat weights = WeightFormat::f32;
  KvFormat kv = KvFormat::f32;
  ActivationFormat activations = ActivationFormat::f32;
};

/// The decoder without the language-model head. Copies share the loaded model; calls from several threads take turns.
class BambaModel {
 public:
  const BambaConfig& config() const;
  ModelInfo info() const;
  int threads() const;
  /// Measures what the model runs on, as measure_machine() does; on a GPU in a second and with a GiB of its memory.
  MachineRoof measure_machine() const;

  /// Memory of the device that is still free for states, in bytes: on the CPU what the machine and the process's
  /// control group leave, on a GPU what is left of RunOptions::gpu_memory.
  size_t free_memory() const;
  /// The empty sequence. Throws Error(out_of_memory).
  SequenceState new_state() const;
  /// Restores a file of SequenceState::save(). Keys and values that were saved in another KvFormat than this model's
  /// are converted: bf16 to f32 exactly, f32 to bf16 by rounding to nearest even, as they would have been when they
  /// were made. Throws Error(invalid_file) when the file is damaged or another model's.
  SequenceState load_state(const std::filesystem::path& path) const;
  /// The state that the snapshot was taken of, bit for bit. Throws Error(invalid_argument) when the snapshot is empty,
  /// another model's, or was taken on another kind of device or with another KvFormat (save() and load_state() convert
  /// between these); Error(out_of_memory).
  SequenceState restore(const HostSnapshot& snapshot) const;

  /// Transformers' BambaModel.forward; throws as BambaForCausalLM::forward does.
  BaseModelOutputWithPast forward(const ForwardInputs& inputs) const;

  struct Impl;
  explicit BambaModel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

/// The decoder with its language-model head. Copies share the loaded model.
class BambaForCausalLM {
 public:
  /// Loads a checkpoint folder: config.json and model.safetensors or its shards. Throws Error(invalid_config |
  /// invalid_checkpoint | io | out_of_memory) that names the file and the tensor.
  static BambaForCausalLM from_pretrained(const std::filesystem::path& directory, const RunOptions& options = {});
  /// A new model with random weights (normal(0, initializer_range); see InitOptions), the same for the same seed.
  /// Throws Error(invalid_config | out_of_memory).
  static BambaForCausalLM from_config(const BambaConfig& config, const InitOptions& init = {},
                                      const RunOptions& options = {});
  /// Writes config.json, generation_config.json (when loaded from a folder that has one) and the weights, as
  /// Transformers reads them. Throws Error(invalid_argument) for another dtype, Error(io) when writing fails.
  void save_pretrained(const std::filesystem::path& directory, const SaveOptions& options = {}) const;

  const BambaModel& model() const { return model_; }
  const BambaConfig& config() const { return model_.config(); }
  SequenceState new_state() const { return model_.new_state(); }

  /// The ragged batch. Every input is checked before any state changes. Throws Error(invalid_argument) naming the
  /// sequence (token id or embedding width out of range, no tokens, a state of another model or used twice).
  void forward(std::span<const SequenceInput> sequences, const RaggedOptions& options, RaggedOutput& output) const;
  RaggedOutput forward(std::span<const SequenceInput> sequences, const RaggedOptions& options = {}) const;

  /// Transformers' forward. Throws Error(invalid_argument) that names the argument, its shape and what is accepted,
  /// Error(out_of_memory).
  CausalLMOutputWithPast forward(const ForwardInputs& inputs) const;

 private:
  explicit BambaForCausalLM(BambaModel model) : model_(std::move(model)) {}
  BambaModel model_;
};

/// Writes a checkpoint of the config's shape with random weights, tensor by tensor, without holding the model: what
/// from_config(config, init) would save. dtype: f32, f16 or bf16. Throws Error(invalid_config | invalid_argument | io).
void init_checkpoint(const std::filesystem::path& directory, const BambaConfig& config, const InitOptions& init,
                     DType dtype, uint64_t max_shard_bytes, const ProgressCallback& progress = {});

}  // namespace bamba
