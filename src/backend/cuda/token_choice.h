// Choosing a token from each row of logits, so that only ids come to the host.
#pragma once

#include <bamba/token_draw.h>

#include <memory>
#include <span>
#include <vector>

#include "backend/cuda/cuda_context.h"
#include "backend/cuda/operation_lists.h"
#include "backend/cuda/sampling.h"

namespace bamba::backend::cuda {

/// Backend::best_columns and Backend::draw_columns.
class TokenChoice {
 public:
  TokenChoice(CudaContext& context, OperationLists& lists) : context_(context), lists_(lists) {}

  void best_columns(Matrix in, std::span<int64_t> columns);
  void draw_columns(Matrix in, std::span<const TokenDraw> draws, std::span<int64_t> columns);

 private:
  /// Device memory for the ids of so many rows.
  int32_t* device_ids(int64_t rows);
  /// Brings them to the host: the one time in a step that it waits.
  void download(const int32_t* ids, std::span<int64_t> columns);

  struct FreePinned {
    void operator()(int32_t* memory) const;
  };

  CudaContext& context_;
  OperationLists& lists_;
  std::vector<SamplingRow> rows_;                  // kept for its memory
  std::unique_ptr<int32_t, FreePinned> host_ids_;  // page-locked: the copy needs no other on its way
  size_t host_rows_ = 0;
};

}  // namespace bamba::backend::cuda
