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

int32_t* TokenChoice::device_ids(int64_t rows) {
  return static_cast<int32_t*>(context_.scratch(CudaContext::columns, static_cast<size_t>(rows) * sizeof(int32_t)));
}

void TokenChoice::download(const int32_t* ids, std::span<int64_t> columns) {
  if (host_rows_ < columns.size()) {
    host_ids_.reset();
    host_rows_ = 0;
    void* memory = nullptr;
    BAMBA_CUDA_CHECK(cudaMallocHost(&memory, columns.size() * sizeof(int32_t)));
    host_ids_.reset(static_cast<int32_t*>(memory));
    host_rows_ = columns.size();
  }
  context_.download(host_ids_.get(), ids, columns.size() * sizeof(int32_t));
  std::copy_n(host_ids_.get(), columns.size(), columns.begin());
}

void TokenChoice::best_columns(Matrix in, std::span<int64_t> columns) {
  if (in.rows == 0) return;
  auto arguments = blank<BestColumnsArguments>();
  arguments.in = in.data;
  arguments.stride = in.stride;
  arguments.rows = in.rows;
  arguments.cols = in.cols;
  arguments.columns = device_ids(in.rows);
  context_.queue.push(&cuda::best_columns, arguments);
  download(arguments.columns, columns);
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
  lists_.make_room(0, rows_.size() * sizeof(SamplingRow));
  arguments.settings = lists_.stage_list(rows_);
  arguments.ids = device_ids(in.rows);
  arguments.report_broken = true;
  context_.queue.push(&sample<float>, arguments);
  download(arguments.ids, columns);
}

}  // namespace bamba::backend::cuda
