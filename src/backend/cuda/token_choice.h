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
  TokenChoice(CudaContext& context, OperationLists& lists);

  void best_columns(Matrix in, std::span<int64_t> columns);
  void draw_columns(Matrix in, std::span<const TokenDraw> draws, std::span<int64_t> columns);

 private:
  /// Memory for the ids of so many rows, of the host and written by the GPU: no copy stands between a step and the
  /// next.
  int32_t* ids(int64_t rows);
  /// What the GPU has written there: the one time in a step that the host waits.
  void take(std::span<int64_t> columns);

  struct FreePinned {
    void operator()(int32_t* memory) const;
  };

  CudaContext& context_;
  OperationLists& lists_;
  std::vector<SamplingRow> rows_;             // kept for its memory
  std::unique_ptr<int32_t, FreePinned> ids_;  // page-locked
  int64_t id_rows_ = 0;
  Buffer shared_;  // [kSharedRows] of BestOfRow
};

}  // namespace bamba::backend::cuda
