#include "backend/cuda/uploader.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/check.h"

namespace bamba::backend::cuda {

Uploader::~Uploader() {
  for (size_t i = 0; i < kBlocks; ++i) {
    if (blocks_[i] == nullptr) continue;
    cudaEventSynchronize(copied_[i]);
    cudaEventDestroy(copied_[i]);
    cudaFreeHost(blocks_[i]);
  }
}

void* Uploader::next_block() {
  block_ = (block_ + 1) % kBlocks;
  if (blocks_[block_] == nullptr) {
    BAMBA_CUDA_CHECK(cudaEventCreateWithFlags(&copied_[block_], cudaEventDisableTiming));
    BAMBA_CUDA_CHECK(cudaMallocHost(&blocks_[block_], kBlockBytes));
  }
  BAMBA_CUDA_CHECK(cudaEventSynchronize(copied_[block_]));
  return blocks_[block_];
}

void Uploader::copy(void* device, size_t pitch, const void* host, size_t row_bytes, size_t rows, ThreadPool& pool) {
  if (pitch == row_bytes) {  // one long row, in pieces that a block holds
    row_bytes = std::min(kBlockBytes, row_bytes * rows);
    if (row_bytes == 0) return;
    const size_t total = pitch * rows;
    for (size_t done = 0; done < total; done += row_bytes) {
      const size_t bytes = std::min(row_bytes, total - done);
      auto* block = static_cast<std::byte*>(next_block());
      const auto* source = static_cast<const std::byte*>(host) + done;
      constexpr size_t kPiece = size_t{1} << 20;  // so that all threads fill the block, and read the file
      pool.parallel_for(static_cast<int64_t>((bytes + kPiece - 1) / kPiece), [&](int64_t piece, int) {
        const size_t first = static_cast<size_t>(piece) * kPiece;
        std::memcpy(block + first, source + first, std::min(kPiece, bytes - first));
      });
      BAMBA_CUDA_CHECK(
          cudaMemcpyAsync(static_cast<std::byte*>(device) + done, block, bytes, cudaMemcpyHostToDevice, stream_));
      BAMBA_CUDA_CHECK(cudaEventRecord(copied_[block_], stream_));
    }
    return;
  }
  const size_t rows_at_once = std::max<size_t>(1, kBlockBytes / std::max<size_t>(1, row_bytes));
  for (size_t first = 0; first < rows; first += rows_at_once) {
    const size_t count = std::min(rows_at_once, rows - first);
    void* block = next_block();
    std::memcpy(block, static_cast<const std::byte*>(host) + first * row_bytes, count * row_bytes);
    BAMBA_CUDA_CHECK(cudaMemcpy2DAsync(static_cast<std::byte*>(device) + first * pitch, pitch, block, row_bytes,
                                       row_bytes, count, cudaMemcpyHostToDevice, stream_));
    BAMBA_CUDA_CHECK(cudaEventRecord(copied_[block_], stream_));
  }
}

}  // namespace bamba::backend::cuda
