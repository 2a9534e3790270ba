#include "backend/cuda/token_choice.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/best_columns.h"
#include "backend/cuda/check.h"

namespace bamba::backend::cuda {
namespace {

SamplingRow row_of(const TokenDraw& draw) {
  SamplingRow row;
  row.uniform = draw.uniform;
  row.temperature = static_cast<float>(draw.temperature);
  row.top_k = static_cast<int32_t>(std::min<int64_t>(draw.top_k, std::numeric_limits<int32_t>::max()));
  row.top_p = draw.top_p;
  if (draw.min_p) row.min_p = static_cast<float>(*draw.min_p);
  return row;
}

}  // namespace

void TokenChoice::FreePinned::operator()(int32_t* memory) const {
  cudaFreeHost(memory);
}

TokenChoice::TokenChoice(CudaContext& context, OperationLists& lists)
    : context_(context), lists_(lists), shared_(context.take(kSharedRows * sizeof(BestOfRow))) {
  BAMBA_CUDA_CHECK(cudaMemsetAsync(shared_.floats(), 0, shared_.bytes(), context.stream));
}

int32_t* TokenChoice::ids(int64_t rows) {
  if (id_rows_ < rows) {
    context_.queue.finish();  // nobody writes to what goes away
    ids_.reset();
    id_rows_ = 0;
    void* memory = nullptr;
    BAMBA_CUDA_CHECK(cudaMallocHost(&memory, static_cast<size_t>(rows) * sizeof(int32_t)));
    ids_.reset(static_cast<int32_t*>(memory));
    id_rows_ = rows;
  }
  return ids_.get();
}

void TokenChoice::take(std::span<int64_t> columns) {
  context_.queue.finish();
  std::copy_n(ids_.get(), columns.size(), columns.begin());
}

void TokenChoice::best_columns(Matrix in, std::span<int64_t> columns) {
  if (in.rows == 0) return;
  auto arguments = blank<BestColumnsArguments>();
  arguments.in = in.data;
  arguments.stride = in.stride;
  arguments.rows = in.rows;
  arguments.cols = in.cols;
  arguments.columns = ids(in.rows);
  arguments.shared = reinterpret_cast<BestOfRow*>(shared_.floats());
  context_.queue.push(&cuda::best_columns, arguments);
  take(columns);
}

void TokenChoice::draw_columns(Matrix in, std::span<const TokenDraw> draws, std::span<int64_t> columns) {
  if (in.rows == 0) return;
  rows_.clear();
  for (const TokenDraw& draw : draws) rows_.push_back(row_of(draw));
  auto arguments = blank<SamplingArguments<float>>();
  arguments.logits = in.data;
  arguments.stride = in.stride;
  arguments.rows = in.rows;
  arguments.vocab = in.cols;
  arguments.ids = ids(in.rows);
  lists_.make_room(0, rows_.size() * sizeof(SamplingRow));
  arguments.settings = lists_.stage_list(rows_);
  arguments.report_broken = true;
  context_.queue.push(&sample<float>, arguments);
  take(columns);
}

}  // namespace bamba::backend::cuda
