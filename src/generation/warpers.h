// Logits warpers: what sampling does to the processed scores before it draws. Semantics are those of Transformers'
// warpers of the same names; computed on the tokens still possible instead of on the whole vocabulary.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "generation/selection.h"

namespace bamba {

struct WarperSettings {
  double temperature = 1.0;
  int64_t top_k = 0;  ///< 0: off
  double top_p = 1.0;
  std::optional<double> min_p = std::nullopt;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;
  size_t min_tokens_to_keep = 1;

  /// Of a validated config. With beams one more token than there are eos ids is kept, as in Transformers.
  static WarperSettings from(const GenerationConfig& config);
};

/// Buffers live as long as the object, so that a step allocates nothing.
class Warpers {
 public:
  Warpers() = default;
  explicit Warpers(const WarperSettings& settings) : settings_(settings) {}
  void set(const WarperSettings& settings) { settings_ = settings; }

  /// The tokens that may be drawn, by increasing id, with their scores after the temperature: at least one. `scores`
  /// (no NaN, at least one above -infinity) may be changed. Valid until the next call.
  std::span<const Candidate> apply(std::span<float> scores);

 private:
  float tempered(float score) const;
  void collect(std::span<float> scores);
  void collect_best(std::span<const float> scores, size_t count);
  void apply_top_p();
  void apply_min_p();
  void apply_typical_p();
  void apply_epsilon_cutoff();
  void apply_eta_cutoff();
  /// softmax of the kept scores, in f32 as Transformers has it.
  void compute_probabilities();
  /// Keeps kept_[i] where keep(i); if those are fewer than min_tokens_to_keep, the best of all instead (and whatever
  /// equals the last of them, with `ties`). keep must follow the scores: never a token without every better one.
  template <typename Keep>
  void keep_where(const Keep& keep, bool ties);

  WarperSettings settings_;
  std::vector<Candidate> kept_;
  std::vector<float> probabilities_;
  std::vector<float> scratch_;
  std::vector<float> maxima_;
  std::vector<uint32_t> order_;
  std::vector<uint8_t> flags_;
};

}  // namespace bamba
