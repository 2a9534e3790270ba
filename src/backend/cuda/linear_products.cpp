#include "backend/cuda/linear_products.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/cuda_weight.h"
#include "backend/cuda/norm.h"
#include "backend/cuda/operation_lists.h"
#include "backend/cuda/quantized_rows.h"

namespace bamba::backend::cuda {
namespace {

struct GemmCall {
  CublasGemm* gemm;
  GemmArguments arguments;
};
void run_gemm(cudaStream_t stream, const GemmCall& call) {
  call.gemm->run(stream, call.arguments);
}

}  // namespace

FixedRows fixed_rows(const ProductInput& in) {
  FixedRows fixed;
  if (in.scales == nullptr) return fixed;
  fixed.high = as<int8_t>(in.rows.data);
  fixed.low = fixed.high + in.rows.cols;
  fixed.stride = in.rows.stride * static_cast<int64_t>(sizeof(__nv_bfloat16));
  fixed.scales = in.scales;
  fixed.scale_stride = in.rows.cols / kFixedGroup;
  return fixed;
}

bool LinearProducts::takes_few(Element element, int64_t rows) const {
  // In f32, the mode for checking, one kernel serves any number of rows: a row's bits do not depend on it.
  return rows <= kSkinnyRows || bit_exact_ || element == Element::f32;
}

bool LinearProducts::joins(Element element, int64_t rows) const {
  // Results differ in their last bits from those of separate operations, which larger batches and prompts have.
  return element == Element::bf16 && rows <= kJoinedRows && !bit_exact_;
}

bool LinearProducts::can_join(const ProductInput& in, std::span<const LinearOp> ops) const {
  if (!joins(in.rows.element, in.rows.rows)) return false;
  return std::ranges::all_of(ops, [&](const LinearOp& op) {
    SkinnyArguments few;
    fill(few, in, op, 0);
    return few.weight.out > 0 && skinny_is_fast(few);
  });
}

Matrix LinearProducts::complete(const ProductInput& in) {
  if (in.scales != nullptr) {
    auto arguments = blank<FixedToBf16Arguments>();
    arguments.rows = fixed_rows(in);
    arguments.out = as<__nv_bfloat16>(in.rows.data);
    arguments.out_stride = in.rows.stride;
    arguments.n_rows = in.rows.rows;
    arguments.cols = in.rows.cols;
    context_.queue.push(&fixed_to_bf16, arguments);
  }
  if (in.squares == nullptr) return in.rows;
  auto arguments = blank<RowFactorArguments>();
  arguments.rows = as<__nv_bfloat16>(in.rows.data);
  arguments.stride = in.rows.stride;
  arguments.squares = in.squares;
  arguments.parts = in.parts;
  arguments.eps = in.eps;
  arguments.n_rows = in.rows.rows;
  arguments.cols = in.rows.cols;
  context_.queue.push(&apply_row_factors, arguments);
  return in.rows;
}

void LinearProducts::linear(const ProductInput& in, std::span<const LinearOp> ops) {
  const bool unfinished = in.squares != nullptr || in.scales != nullptr;
  if (unfinished && !can_join(in, ops)) return linear({complete(in)}, ops);
  if (takes_few(in.rows.element, in.rows.rows)) return joined(in, ops, {});
  for (const LinearOp& op : ops) many_rows(in.rows, op);
}

void LinearProducts::joined(const ProductInput& in, std::span<const LinearOp> ops, const ProductEnds& ends) {
  const int64_t rows = in.rows.rows;
  const int64_t at_once = in.rows.element == Element::f32 ? rows : kSkinnyRows;
  for (int64_t first = 0; first < rows; first += at_once) {
    ProductInput some = in;
    some.rows = in.rows.below(first, std::min(at_once, rows - first));
    few_rows(some, ops, first, ends);
  }
}

void LinearProducts::fill(SkinnyArguments& few, const ProductInput& in, const LinearOp& op, int64_t first) const {
  const Matrix& rows = in.rows;
  few.weight = device_weight(*op.weight);
  few.in = rows.data;
  few.in_element = rows.element;
  few.in_stride = rows.stride;
  few.fixed_in = fixed_rows(in);
  few.rows = rows.rows;
  const Matrix out = op.out.below(first, rows.rows);
  few.out = out.data;
  few.out_element = out.element;
  few.out_stride = out.stride;
  few.bias = op.bias;
  few.accumulate = op.accumulate;
  few.workspace = context_.skinny_workspace();
  few.exact = bit_exact_;
  // Fetches its first weights while the kernels before it run.
  few.overlap_previous = true;
}

void LinearProducts::few_rows(const ProductInput& in, std::span<const LinearOp> ops, int64_t first,
                              const ProductEnds& ends) {
  auto list = blank<SkinnyList>();
  const auto push = [&] {
    if (list.count == 1) {
      context_.queue.push(&skinny_linear, list.products[0]);
    } else if (list.count > 1) {
      list.gated = ends.gated;
      list.activation = ends.activation;
      context_.queue.push(&skinny_linears, list);
    }
    list = blank<SkinnyList>();
  };
  for (const LinearOp& op : ops) {
    auto few = blank<SkinnyArguments>();
    fill(few, in, op, first);
    if (few.weight.out == 0) continue;
    few.in_norm.squares = in.squares;
    few.in_norm.parts = static_cast<int>(in.parts);
    few.in_norm.eps = in.eps;
    few.norm = ends.norm;
    few.conv = ends.conv;
    few.fixed_out = ends.fixed_out;
    if (list.count == kSkinnyProducts || (list.count > 0 && !skinny_share(list.products[0], few))) push();
    std::memcpy(static_cast<void*>(&list.products[list.count++]), &few, sizeof(few));
  }
  push();
}

void LinearProducts::many_rows(Matrix in, const LinearOp& op) {
  const DeviceWeight& weight = device_weight(*op.weight);
  constexpr int64_t kBytes = 2;
  if (weight.kind == WeightKind::bf16) {
    gemm(in, op, weight.codes, weight.pitch / kBytes, 0, weight.out);
    return;
  }
  // Other formats are unpacked, as many outputs at a time as scratch memory holds, into what cuBLASLt multiplies.
  const int64_t pitch = (weight.in + 7) / 8 * 8;
  const int64_t at_once = std::max<int64_t>(64, static_cast<int64_t>(kUnpackedBytes) / (pitch * kBytes));
  for (int64_t first = 0; first < weight.out; first += at_once) {
    const int64_t count = std::min(at_once, weight.out - first);
    auto rows = blank<WeightRowsArguments>();
    rows.weight = weight;
    rows.first = first;
    rows.rows = count;
    rows.out = context_.scratch(CudaContext::unpacked, kUnpackedBytes + static_cast<size_t>(64 * pitch * kBytes));
    rows.out_element = Element::bf16;
    rows.out_stride = pitch;
    context_.queue.push(&weight_rows, rows);
    gemm(in, op, rows.out, pitch, first, count);
  }
}

void LinearProducts::gemm(Matrix in, const LinearOp& op, const void* codes, int64_t stride, int64_t first,
                          int64_t count) {
  auto call = blank<GemmCall>();
  call.gemm = &context_.gemm;
  GemmArguments& arguments = call.arguments;
  arguments.type = GemmType::bf16;
  arguments.in = in.data;
  arguments.in_stride = in.stride;
  arguments.rows = in.rows;
  arguments.weight = codes;
  arguments.weight_stride = stride;
  arguments.outputs = count;
  arguments.inputs = in.cols;
  arguments.out = op.out.at(0, first);
  arguments.out_element = op.out.element;
  arguments.out_stride = op.out.stride;
  arguments.bias = op.bias != nullptr ? op.bias + first : nullptr;
  arguments.accumulate = op.accumulate;
  context_.queue.push(&run_gemm, call);
}

}  // namespace bamba::backend::cuda
