// Random tensors of a new model, the same for the same seed on any machine and thread count.
#pragma once

#include <bamba/config.h>
#include <bamba/model.h>

#include <cstdint>

#include "base/thread_pool.h"
#include "model/tensor_specs.h"

namespace bamba {

/// Elements [first, first + count) of a tensor of a from-scratch model, written as `dtype` (f32, f16, bf16) to `out`.
/// Matrices and convolutions: normal(0, initializer_range); the pad token's embedding 0; biases 0; norms and D 1;
/// A_log = log(1 ... n_heads); dt_bias by init.dt_bias.
void fill_random(const BambaConfig& config, const InitOptions& init, const TensorSpec& spec, int64_t first,
                 int64_t count, DType dtype, void* out);

/// The whole tensor, by all threads.
Tensor random_tensor(const BambaConfig& config, const InitOptions& init, const TensorSpec& spec, DType dtype,
                     ThreadPool& pool);

}  // namespace bamba
