// Selective scan at the 9B shape, bf16: decoding, short runs, and prompts in both forms.
#include "backend/cuda/scan.h"

#include "cuda/scan_bench_support.h"

namespace bamba::bench {
namespace {

using Element = __nv_bfloat16;
constexpr int64_t kInProj = 16768;
constexpr int64_t kHeads = 128;
constexpr int64_t kHead = 64;
constexpr int64_t kState = 128;
constexpr int64_t kInner = kHeads * kHead;
constexpr int64_t kConvDim = kInner + 2 * kState;
constexpr backend::ScanShape kShape{kHeads, kHead, 1, kState, 256, 0.0f, 1e30f};

void measure(const char* name, bool chunked, int64_t sequences, int64_t tokens) {
  const int64_t rows = sequences * tokens;
  const int64_t state = kHeads * kState * kHead;
  const double bytes = 2.0 * sequences * state * sizeof(float) +
                       static_cast<double>(rows) * (kConvDim + kHeads + kInner) * sizeof(Element);
  // Per token and head: both products with the state, scores' lower half with x, and once for all heads the scores.
  const double flops = chunked ? 2.0 * rows * (kHeads * kHead * (2 * kState + 32.0) + 32.0 * kState) : 0;
  const int64_t sets = rotation(bytes);
  const DeviceArray<Element> xbc(sets * rows * kConvDim, 0, 1);
  const DeviceArray<Element> dt(sets * rows * kInProj, 0, 1);
  const DeviceArray<Element> out(sets * rows * kInner);
  const DeviceArray<float> states(sets * sequences * state, 0, 1);
  const DeviceArray<float*> pointers(state_pointers(states.data(), sets * sequences, state));
  const DeviceArray<float> a(kHeads, -1, 0.2f);
  const DeviceArray<float> d(kHeads, 1, 0.2f);
  const DeviceArray<float> bias(kHeads, -2, 1);
  const DeviceArray<backend::SequenceRows> lists(equal_sequences(sequences, tokens));
  const DeviceArray<uint8_t> workspace(
      static_cast<int64_t>(backend::cuda::scan_chunked_workspace_bytes(kShape, rows, sequences)));
  const double us = median_microseconds(
      nullptr,
      [&](cudaStream_t stream, int i) {
        const int64_t set = i % sets;
        const backend::cuda::ScanArguments<Element> arguments{xbc.data() + set * rows * kConvDim,
                                                              kConvDim,
                                                              dt.data() + set * rows * kInProj,
                                                              kInProj,
                                                              lists.data(),
                                                              sequences,
                                                              rows,
                                                              tokens,
                                                              pointers.data() + set * sequences,
                                                              a.data(),
                                                              d.data(),
                                                              bias.data(),
                                                              kShape,
                                                              out.data() + set * rows * kInner,
                                                              kInner,
                                                              workspace.data()};
        if (chunked) {
          scan_chunked(stream, arguments);
        } else {
          scan_recurrent(stream, arguments);
        }
      },
      7, 10);
  print_line(name, sequences, tokens, us, bytes, flops);
}

}  // namespace
}  // namespace bamba::bench

int main() {
  using bamba::bench::measure;
  for (const int64_t batch : {1, 2, 4, 8, 16, 32, 64, 256}) measure("scan_recurrent, decoding", false, batch, 1);
  for (const int64_t tokens : {4, 16}) measure("scan_recurrent, short", false, 1, tokens);
  measure("scan_recurrent, short", false, 16, 8);
  measure("scan_recurrent, prompt", false, 1, 2048);
  for (const int64_t tokens : {64, 512, 2048, 8192}) measure("scan_chunked", true, 1, tokens);
  measure("scan_chunked", true, 8, 256);
  measure("scan_chunked", true, 4, 2048);
}
