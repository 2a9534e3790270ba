#include "backend/cuda/cublas_gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "backend/cuda/gemm_bias.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ErrorCode::internal, "cuBLASLt: ", cublasLtGetStatusString(status), " in ", call);
}
#define BAMBA_CUBLAS_CHECK(call) check((call), #call)

/// A descriptor of the library, owned.
template <typename Handle, cublasStatus_t (*kDestroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) kDestroy(handle_);
  }
  Handle get() const { return handle_; }
  Handle* address() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};
using Library = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <typename Value>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, Value value) {
  BAMBA_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)));
}
template <typename Value>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
  BAMBA_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)));
}

cudaDataType_t type_of(GemmType type) {
  switch (type) {
    case GemmType::f32:
      return CUDA_R_32F;
    case GemmType::bf16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_8F_E4M3;
  }
}

Layout make_layout(cudaDataType_t type, int64_t rows, int64_t cols, int64_t stride) {
  Layout layout;
  BAMBA_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(layout.address(), type, static_cast<uint64_t>(rows),
                                                static_cast<uint64_t>(cols), stride));
  return layout;
}

/// The largest power of two, up to 256, that divides the address.
uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

/// What a product is to the library, which counts by columns: out^T [outputs, rows] = weight [outputs, inputs] times
/// in^T [inputs, rows], where the weight as it lies is the transpose of a column-major [inputs, outputs].
struct Plan {
  Operation operation;
  Layout weight;
  Layout in;
  Layout out;
  bool found = false;
  cublasLtMatmulAlgo_t algorithm{};
};

using Key = std::array<int64_t, 14>;
Key key_of(const GemmArguments& a) {
  return {static_cast<int64_t>(a.type),
          static_cast<int64_t>(a.out_element),
          a.rows,
          a.outputs,
          a.inputs,
          a.in_stride,
          a.weight_stride,
          a.out_stride,
          a.accumulate ? 1 : 0,
          a.vector_scales ? 1 : 0,
          int64_t{alignment_of(a.in)},
          int64_t{alignment_of(a.weight)},
          int64_t{alignment_of(a.out)},
          a.in_scales != nullptr ? 1 : 0};
}

}  // namespace

struct CublasGemm::State {
  Library library;
  void* workspace;
  size_t workspace_bytes;
  GemmOptions options;
  std::map<Key, Plan> plans;

  void describe(const GemmArguments& a, int64_t rows, Plan& plan) const {
    BAMBA_CUBLAS_CHECK(cublasLtMatmulDescCreate(plan.operation.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (a.type == GemmType::fp8) {
      // Sums in full f32, not in the tensor cores' shorter registers.
      set(plan.operation, CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{0});
      const int32_t mode =
          a.vector_scales ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F : CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
      set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode);
      set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode);
      set_scales(a, plan);
    }
    plan.weight = make_layout(type_of(a.type), a.inputs, a.outputs, a.weight_stride);
    plan.in = make_layout(type_of(a.type), a.inputs, rows, a.in_stride);
    plan.out = make_layout(a.out_element == Element::bf16 ? CUDA_R_16BF : CUDA_R_32F, a.outputs, rows, a.out_stride);
  }

  static void set_scales(const GemmArguments& a, const Plan& plan) {
    set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, a.weight_scales);
    set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, a.in_scales);
  }

  void choose(const GemmArguments& a, Plan& plan) const {
    Preference preference;
    BAMBA_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(preference.address()));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes});
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(a.weight));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(a.in));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(a.out));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(a.out));
    std::array<cublasLtMatmulHeuristicResult_t, 8> results{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        library.get(), plan.operation.get(), plan.weight.get(), plan.in.get(), plan.out.get(), plan.out.get(),
        preference.get(), static_cast<int>(results.size()), results.data(), &count);
    plan.found = false;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return;
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    for (int i = 0; i < count && !plan.found; ++i) {
      if (results[static_cast<size_t>(i)].state != CUBLAS_STATUS_SUCCESS) continue;
      plan.found = true;
      plan.algorithm = results[static_cast<size_t>(i)].algo;
    }
  }

  const Plan& plan_for(const GemmArguments& a) {
    const Key key = key_of(a);
    const auto known = plans.find(key);
    if (known != plans.end()) return known->second;
    Plan plan;
    describe(a, a.rows, plan);
    if (options.plan_rows > 0) {
      Plan common;
      describe(a, options.plan_rows, common);
      choose(a, common);
      cublasLtMatmulHeuristicResult_t result{};
      if (common.found &&
          cublasLtMatmulAlgoCheck(library.get(), plan.operation.get(), plan.weight.get(), plan.in.get(), plan.out.get(),
                                  plan.out.get(), &common.algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
          result.workspaceSize <= workspace_bytes) {
        plan.found = true;
        plan.algorithm = common.algorithm;
      }
    }
    if (!plan.found) choose(a, plan);
    return plans.emplace(key, std::move(plan)).first->second;
  }
};

CublasGemm::CublasGemm(void* workspace, size_t workspace_bytes, GemmOptions options)
    : state_(std::make_unique<State>()) {
  state_->workspace = workspace;
  state_->workspace_bytes = workspace_bytes;
  state_->options = options;
  BAMBA_CUBLAS_CHECK(cublasLtCreate(state_->library.address()));
}

CublasGemm::~CublasGemm() = default;

bool CublasGemm::supports(const GemmArguments& arguments) {
  return state_->plan_for(arguments).found;
}

size_t CublasGemm::plans() const {
  return state_->plans.size();
}

void CublasGemm::run(cudaStream_t stream, const GemmArguments& a) {
  if (a.rows == 0 || a.outputs == 0) return;
  const Plan& plan = state_->plan_for(a);
  if (!plan.found) {
    fail(ErrorCode::unsupported, "cuBLASLt has no algorithm for a product of [", a.rows, ", ", a.inputs, "] with [",
         a.outputs, ", ", a.inputs, "] of these types, strides and alignments");
  }
  if (a.type == GemmType::fp8) State::set_scales(a, plan);
  const float alpha = 1;
  const float beta = a.accumulate ? 1 : 0;
  BAMBA_CUBLAS_CHECK(cublasLtMatmul(state_->library.get(), plan.operation.get(), &alpha, a.weight, plan.weight.get(),
                                    a.in, plan.in.get(), &beta, a.out, plan.out.get(), a.out, plan.out.get(),
                                    &plan.algorithm, state_->workspace, state_->workspace_bytes, stream));
  if (a.bias != nullptr) add_bias(stream, {a.out, a.out_element, a.out_stride, a.rows, a.outputs, a.bias});
}

}  // namespace bamba::backend::cuda
