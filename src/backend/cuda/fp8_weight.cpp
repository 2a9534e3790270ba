#include "backend/cuda/fp8_weight.h"

#include <algorithm>

#include "backend/cuda/skinny_weight.h"

namespace bamba::backend::cuda {

void fp8_quantize_rows(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales) {
  for (int64_t o = 0; o < out; ++o) scales[o] = fp8_quantize_block(weights + o * in, 1, in, in, codes + o * in);
}

void fp8_quantize_blocks(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales) {
  int64_t block = 0;
  for (int64_t o = 0; o < out; o += kFp8Block) {
    for (int64_t k = 0; k < in; k += kFp8Block) {
      scales[block++] = fp8_quantize_block(weights + o * in + k, std::min(kFp8Block, out - o),
                                           std::min(kFp8Block, in - k), in, codes + o * in + k);
    }
  }
}

}  // namespace bamba::backend::cuda
