// A tensor in another floating type, by all threads.
#pragma once

#include <bamba/tensor.h>

#include "base/thread_pool.h"

namespace bamba::backend::cuda {

/// weight.to(type) for a matrix; the tensor itself, its memory shared, where it has that type already.
Tensor converted(const Tensor& weight, DType type, ThreadPool& pool);

}  // namespace bamba::backend::cuda
