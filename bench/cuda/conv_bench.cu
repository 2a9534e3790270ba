// Causal convolution at the 9B shape, bf16: decoding batches and prompts.
#include "backend/cuda/conv.h"

#include "cuda/scan_bench_support.h"

namespace bamba::bench {
namespace {

using Element = __nv_bfloat16;
constexpr int64_t kInProj = 16768;
constexpr int64_t kChannels = 8448;
constexpr int64_t kFirstChannel = 8192;
constexpr int64_t kWidth = 4;

void measure(int64_t sequences, int64_t tokens) {
  const int64_t rows = sequences * tokens;
  const double window_bytes = 2.0 * sequences * kWidth * kChannels * sizeof(float);
  const double bytes = 2.0 * rows * kChannels * sizeof(Element) + window_bytes;
  const int64_t sets = rotation(bytes);
  const DeviceArray<Element> in(sets * rows * kInProj, 0, 1);
  const DeviceArray<Element> out(sets * rows * kChannels);
  const DeviceArray<float> windows(sets * sequences * kWidth * kChannels, 0, 1);
  const DeviceArray<float*> pointers(state_pointers(windows.data(), sets * sequences, kWidth * kChannels));
  const DeviceArray<float> weight(kWidth * kChannels, 0, 0.5f);
  const DeviceArray<float> bias(kChannels, 0, 1);
  const DeviceArray<backend::SequenceRows> lists(equal_sequences(sequences, tokens));
  const double us = median_microseconds(nullptr, [&](cudaStream_t stream, int i) {
    const int64_t set = i % sets;
    causal_conv(stream, backend::cuda::ConvArguments<Element>{in.data() + set * rows * kInProj + kFirstChannel,
                                                              kInProj,
                                                              lists.data(),
                                                              sequences,
                                                              rows,
                                                              tokens,
                                                              pointers.data() + set * sequences,
                                                              weight.data(),
                                                              bias.data(),
                                                              {kChannels, kWidth},
                                                              backend::Activation::silu,
                                                              out.data() + set * rows * kChannels,
                                                              kChannels});
  });
  print_line("causal_conv", sequences, tokens, us, bytes);
}

}  // namespace
}  // namespace bamba::bench

int main() {
  for (const int64_t batch : {1, 8, 32, 64, 256}) bamba::bench::measure(batch, 1);
  for (const int64_t tokens : {128, 512, 2048, 8192}) bamba::bench::measure(1, tokens);
  bamba::bench::measure(8, 256);
}
