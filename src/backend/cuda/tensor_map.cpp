#include "backend/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "backend/cuda/check.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

/// The driver's function, without linking the driver: a machine without a GPU has none.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  BAMBA_CUDA_CHECK(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
#else
  BAMBA_CUDA_CHECK(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    fail(ErrorCode::unsupported, "the GPU's driver does not know tensor maps; one for CUDA 12 or newer does");
  }
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

CUtensorMap tensor_map(const TensorMapShape& shape) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encoder();
  const auto type = shape.bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(shape.cols), static_cast<cuuint64_t>(shape.rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(shape.row_bytes)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(shape.box_cols), static_cast<cuuint32_t>(shape.box_rows)};
  const cuuint32_t steps[] = {1, 1};
  CUtensorMap map{};
  const CUresult result =
      encode(&map, type, 2, const_cast<void*>(shape.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             shape.swizzle ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail(ErrorCode::internal, "no tensor map for ", shape.rows, " rows of ", shape.cols, " elements, ", shape.row_bytes,
         " bytes apart (error ", static_cast<int>(result), ")");
  }
  return map;
}

}  // namespace bamba::backend::cuda
