// Elementwise kernels and the rotary embedding at the 9B shape, against memory.
#include "backend/cuda/elementwise.h"

#include "backend/cuda/rope.h"
#include "cuda/attention_sequences.h"
#include "cuda/timing.h"

namespace {

using namespace bamba::bench;
using Bf16 = __nv_bfloat16;

constexpr int kSets = 4;

template <typename Body>
void report(const char* what, int64_t rows, double bytes, Body body) {
  const double us = median_microseconds(nullptr, body, 5, 12);
  std::printf("%-28s %6ld rows %9.1f us %8.1f GB/s %6.1f %%\n", what, static_cast<long>(rows), us, bytes / us * 1e-3,
              100 * bytes / us * 1e6 / kCopyBytesPerSecond);
}

}  // namespace

int main() {
  constexpr int64_t kHidden = 4096;
  constexpr int64_t kInner = 14336;
  constexpr int64_t kVocab = 128256;
  std::printf("%% of 3.0 TB/s, bytes read and written\n");
  for (const int64_t rows : {1, 64, 1024, 8192}) {
    std::vector<Bf16*> sets;
    for (int i = 0; i < kSets; ++i) sets.push_back(device_numbers(static_cast<size_t>(rows * 2 * kInner)));
    const auto r = static_cast<double>(rows);
    report("silu(gate) * up", rows, r * kInner * 6, [&](cudaStream_t stream, int call) {
      Bf16* both = sets[static_cast<size_t>(call % kSets)];
      cuda::gated_activation<Bf16>(
          stream, {both, 2 * kInner, both + kInner, 2 * kInner, rows, kInner, bamba::backend::Activation::silu});
    });
    const Bf16* table = sets[0];
    std::vector<int32_t> ids(static_cast<size_t>(rows));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % kVocab);
    const int32_t* device_ids = device_array(ids);
    const Bf16* embedding = device_numbers(static_cast<size_t>(kVocab * kHidden));
    float* out = reinterpret_cast<float*>(device_numbers(static_cast<size_t>(rows * kHidden * 2)));
    report("embed, bf16 to f32", rows, r * kHidden * 6, [&](cudaStream_t stream, int) {
      cuda::copy_rows<Bf16, float>(stream, {embedding, kHidden, device_ids, out, kHidden, rows, kHidden});
    });
    report("bf16 to f32", rows, r * kHidden * 6, [&](cudaStream_t stream, int call) {
      cuda::copy_rows<Bf16, float>(
          stream, {sets[static_cast<size_t>(call % kSets)], kHidden, nullptr, out, kHidden, rows, kHidden});
    });
    const BenchSequences sequences({{0, rows, 0}});
    const float* angles = reinterpret_cast<const float*>(table);
    constexpr int64_t kWidth = 6144;
    const double moved = r * (32 * 64 * 4 + 8 * 128 * 2 * 4 + 64 * 4);
    report("rope and append", rows, moved, [&](cudaStream_t stream, int call) {
      Bf16* qkv = sets[static_cast<size_t>(call % kSets)];
      cuda::rope<Bf16>(stream, {.queries = qkv,
                                .query_stride = kWidth,
                                .keys = qkv + 4096,
                                .key_stride = kWidth,
                                .values = qkv + 5120,
                                .value_stride = kWidth,
                                .rows = rows,
                                .shape = kShape9b,
                                .cos_sin = angles,
                                .by_position = true,
                                .row_sequence = nullptr,
                                .sequences = {sequences.device_rows, sequences.pages}});
    });
    for (Bf16* set : sets) BAMBA_CUDA_CHECK(cudaFree(set));
    BAMBA_CUDA_CHECK(cudaFree(const_cast<Bf16*>(embedding)));
    BAMBA_CUDA_CHECK(cudaFree(out));
  }
  return 0;
}
