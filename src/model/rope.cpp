#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bamba {
namespace {

using Frequencies = std::vector<double>;

/// Low frequencies are divided by the factor, high ones kept, those between blended by their wavelength.
void scale_llama3(const RopeConfig& rope, double original_context, Frequencies& frequencies) {
  const double low_wavelength = original_context / rope.low_freq_factor;
  const double high_wavelength = original_context / rope.high_freq_factor;
  for (double& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength > low_wavelength) {
      frequency /= rope.factor;
    } else if (wavelength >= high_wavelength) {
      const double kept =
          (original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      frequency = (1 - kept) * frequency / rope.factor + kept * frequency;
    }
  }
}

/// Dimensions that turn often inside the original context are kept, those that turn rarely are divided by the factor,
/// with a linear ramp between.
void scale_yarn(const RopeConfig& rope, double original_context, Frequencies& frequencies) {
  const auto width = static_cast<double>(2 * frequencies.size());
  const auto dimension_of = [&](double turns) {
    return width * std::log(original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.rope_theta));
  };
  double low = dimension_of(rope.beta_fast);
  double high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  if (low == high) high += 0.001;  // a step instead of a ramp, without dividing by zero
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    frequencies[j] = frequencies[j] / rope.factor * ramp + frequencies[j] * (1 - ramp);
  }
}

/// YaRN's attention temperature, in the variants that configs name.
double yarn_attention_scaling(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const auto magnitude = [&](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
  };
  // Zero means "not set" for these two, as in the files that have them.
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
    return magnitude(*rope.mscale) / magnitude(*rope.mscale_all_dim);
  }
  return magnitude(1.0);
}

}  // namespace

Rope::Rope(const BambaConfig& config) {
  const RopeConfig& rope = config.rope;
  const int64_t width = config.rotary_dim();
  Frequencies frequencies(static_cast<size_t>(width / 2));
  for (size_t j = 0; j < frequencies.size(); ++j) {
    frequencies[j] = 1.0 / std::pow(rope.rope_theta, 2.0 * static_cast<double>(j) / static_cast<double>(width));
  }
  const auto original_context =
      static_cast<double>(rope.original_max_position_embeddings > 0 ? rope.original_max_position_embeddings
                                                                    : config.max_position_embeddings);
  if (rope.rope_type == "linear") {
    for (double& frequency : frequencies) frequency /= rope.factor;
  } else if (rope.rope_type == "llama3") {
    scale_llama3(rope, original_context, frequencies);
  } else if (rope.rope_type == "yarn") {
    scale_yarn(rope, original_context, frequencies);
    attention_scaling_ = static_cast<float>(yarn_attention_scaling(rope));
  }
  for (const double frequency : frequencies) inv_freq_.push_back(static_cast<float>(frequency));
}

void Rope::fill(std::span<const int64_t> positions, float* table) const {
  const size_t half = inv_freq_.size();
  for (const int64_t position : positions) {
    const auto p = static_cast<float>(position);
    for (size_t j = 0; j < half; ++j) {
      const auto angle = static_cast<double>(p * inv_freq_[j]);
      table[j] = static_cast<float>(std::cos(angle)) * attention_scaling_;
      table[half + j] = static_cast<float>(std::sin(angle)) * attention_scaling_;
    }
    table += 2 * half;
  }
}

}  // namespace bamba
