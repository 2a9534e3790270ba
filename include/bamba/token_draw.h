// How one token is drawn from a row of logits where the device does it.
#pragma once

#include <cstdint>
#include <optional>

namespace bamba {

/// The settings of GenerationConfig of the same names, applied in this order, then the draw: of the tokens that are
/// left, by increasing id, the one at `uniform` of their probability.
struct TokenDraw {
  double uniform = 0;           ///< in [0, 1)
  double temperature = 1;       ///< at least 1e-6; or 0: the best token, whatever the rest says
  int64_t top_k = 0;            ///< 0: off
  double top_p = 1;             ///< in [0, 1]; 1: off
  std::optional<double> min_p;  ///< in [0, 1]
};

}  // namespace bamba
