// Random tensors of a new model, the same for the same seed on any machine and thread count.
#pragma once

#include <bamba/config.h>
#include <bamba/model.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "model/tensor_specs.h"

namespace bamba {

/// Tensors of a from-scratch model. Matrices and convolutions: normal(0, initializer_range), drawn as init.matrices
/// says; the pad token's embedding 0; biases 0; norms and D 1; A_log = log(1 ... n_heads); dt_bias by init.dt_bias.
class RandomWeights {
 public:
  /// dtype: f32, f16 or bf16. `config` must outlive this.
  RandomWeights(const BambaConfig& config, const InitOptions& init, DType dtype);

  /// Writes elements [first, first + count) to `out`.
  void fill(const TensorSpec& spec, int64_t first, int64_t count, void* out) const;
  /// The whole tensor, by all threads.
  Tensor tensor(const TensorSpec& spec, ThreadPool& pool) const;

 private:
  void fill_matrix(const TensorSpec& spec, uint64_t key, int64_t first, int64_t count, std::byte* out) const;

  const BambaConfig& config_;
  InitOptions init_;
  DType dtype_;
  std::vector<std::byte> block_;  ///< what MatrixInit::repeated repeats, as dtype
};

}  // namespace bamba
