// Rotary position embedding: frequencies and the table of cosines and sines of a pass.
#pragma once

#include <bamba/config.h>

#include <cstdint>
#include <span>
#include <vector>

namespace bamba {

/// inv_freq_j = theta^(-2j / rotary_dim), j < rotary_dim / 2, rescaled by the rope type. Formulas: Su et al. 2021
/// (RoFormer); linear: Chen et al. 2023 (position interpolation); yarn: Peng et al. 2023, section 3; llama3: the
/// wavelength rule of the Llama 3.1 model card.
class Rope {
 public:
  explicit Rope(const BambaConfig& config);

  /// Fills row r of table [positions, rotary_dim] with rotary_dim / 2 cosines, then as many sines, of position r.
  /// The angle is an f32 product, as it is where these models were trained: at large positions its rounding is part
  /// of the model.
  void fill(std::span<const int64_t> positions, float* table) const;

  std::span<const float> inv_freq() const { return inv_freq_; }
  float attention_scaling() const { return attention_scaling_; }

 private:
  std::vector<float> inv_freq_;
  float attention_scaling_ = 1.0f;  ///< yarn: both tables are multiplied by it
};

}  // namespace bamba
