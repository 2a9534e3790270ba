#include "backend/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <iterator>

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

/// Dimensions from the innermost on; strides of all but that.
template <size_t kDimensions>
CUtensorMap encode(CUtensorMapDataType type, const void* data, const cuuint64_t (&sizes)[kDimensions],
                   const cuuint64_t (&strides)[kDimensions - 1], const cuuint32_t (&box)[kDimensions], bool swizzle) {
  static const PFN_cuTensorMapEncodeTiled_v12000 function = encoder();
  cuuint32_t steps[kDimensions];
  std::fill(std::begin(steps), std::end(steps), 1U);
  CUtensorMap map{};
  const CUresult result =
      function(&map, type, kDimensions, const_cast<void*>(data), sizes, strides, box, steps,
               CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail(ErrorCode::internal, "no tensor map for ", sizes[1], " rows of ", sizes[0], " elements, ", strides[0],
         " bytes apart (error ", static_cast<int>(result), ")");
  }
  return map;
}

}  // namespace

CUtensorMap tensor_map(const TensorMapShape& shape) {
  return encode<2>(shape.bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, shape.data,
                   {static_cast<cuuint64_t>(shape.cols), static_cast<cuuint64_t>(shape.rows)},
                   {static_cast<cuuint64_t>(shape.row_bytes)},
                   {static_cast<cuuint32_t>(shape.box_cols), static_cast<cuuint32_t>(shape.box_rows)}, shape.swizzle);
}

CUtensorMap tensor_map(const HalvesMapShape& shape) {
  constexpr int kInner = 128;
  return encode<4>(
      CU_TENSOR_MAP_DATA_TYPE_UINT8, shape.data,
      {kInner, static_cast<cuuint64_t>(shape.rows), 2, static_cast<cuuint64_t>(shape.cols / kInner)},
      {static_cast<cuuint64_t>(shape.row_bytes), static_cast<cuuint64_t>(shape.half_bytes), kInner},
      {kInner, static_cast<cuuint32_t>(shape.box_rows), 2, static_cast<cuuint32_t>(shape.box_cols / kInner)}, true);
}

}  // namespace bamba::backend::cuda
