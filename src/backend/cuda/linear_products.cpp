#include "backend/cuda/linear_products.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/cuda_weight.h"
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

void LinearProducts::linear(Matrix in, std::span<const LinearOp> ops) {
  // In f32, the mode for checking, one kernel serves any number of rows: a row's bits do not depend on it.
  const bool any_number = in.element == Element::f32;
  const int64_t at_once = bit_exact_ && !any_number ? kSkinnyRows : in.rows;
  for (int64_t first = 0; first < in.rows; first += at_once) {
    const int64_t rows = std::min(at_once, in.rows - first);
    const Matrix some = in.below(first, rows);
    if (rows <= kSkinnyRows || any_number) {
      few_rows(some, ops, first);
    } else {
      for (const LinearOp& op : ops) many_rows(some, {op.weight, op.bias, op.accumulate, op.out.below(first, rows)});
    }
  }
}

void LinearProducts::few_rows(Matrix in, std::span<const LinearOp> ops, int64_t first) {
  auto list = blank<SkinnyList>();
  const auto push = [&] {
    if (list.count == 1) {
      context_.queue.push(&skinny_linear, list.products[0]);
    } else if (list.count > 1) {
      context_.queue.push(&skinny_linears, list);
    }
    list = blank<SkinnyList>();
  };
  for (const LinearOp& op : ops) {
    auto few = blank<SkinnyArguments>();
    few.weight = device_weight(*op.weight);
    if (few.weight.out == 0) continue;
    few.in = in.data;
    few.in_element = in.element;
    few.in_stride = in.stride;
    few.rows = in.rows;
    const Matrix out = op.out.below(first, in.rows);
    few.out = out.data;
    few.out_element = out.element;
    few.out_stride = out.stride;
    few.bias = op.bias;
    few.accumulate = op.accumulate;
    few.workspace = context_.skinny_workspace();
    // Fetches its first weights while the kernels before it run.
    few.overlap_previous = true;
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
