// The norms at the 9B shape, bf16 activations on an f32 residual stream.
#include "backend/cuda/norm.h"

#include "cuda/scan_bench_support.h"

namespace bamba::bench {
namespace {

using Element = __nv_bfloat16;
constexpr int64_t kHidden = 4096;
constexpr int64_t kInner = 8192;
constexpr int64_t kInProj = 16768;

void measure_rms(int64_t rows, bool add) {
  const double bytes = static_cast<double>(rows) * kHidden * (4 + 2 + (add ? 4 + 2 : 0));
  const int64_t sets = rotation(bytes);
  const DeviceArray<float> residual(sets * rows * kHidden, 0, 1);
  const DeviceArray<Element> more(sets * rows * kHidden, 0, 0.01f);
  const DeviceArray<Element> out(sets * rows * kHidden);
  const DeviceArray<float> weight(kHidden, 1, 0.1f);
  const double us = median_microseconds(nullptr, [&](cudaStream_t stream, int i) {
    const int64_t at = i % sets * rows * kHidden;
    rms_norm(stream, backend::cuda::RmsNormArguments<Element>{residual.data() + at, kHidden,
                                                              add ? more.data() + at : nullptr, kHidden, weight.data(),
                                                              1e-5f, rows, kHidden, out.data() + at, kHidden});
  });
  print_line(add ? "residual add, rms_norm" : "rms_norm", rows, 1, us, bytes);
}

void measure_gated(int64_t rows) {
  const double bytes = 3.0 * rows * kInner * sizeof(Element);
  const int64_t sets = rotation(bytes);
  const DeviceArray<Element> in(sets * rows * kInner, 0, 1);
  const DeviceArray<Element> gate(sets * rows * kInProj, 0, 1);
  const DeviceArray<Element> out(sets * rows * kInner);
  const DeviceArray<float> weight(kInner, 1, 0.1f);
  const double us = median_microseconds(nullptr, [&](cudaStream_t stream, int i) {
    const int64_t set = i % sets;
    gated_rms_norm(stream, backend::cuda::GatedRmsNormArguments<Element>{
                               in.data() + set * rows * kInner, kInner, gate.data() + set * rows * kInProj, kInProj,
                               weight.data(), 1e-5f, 1, rows, kInner, out.data() + set * rows * kInner, kInner});
  });
  print_line("gated_rms_norm", rows, 1, us, bytes);
}

}  // namespace
}  // namespace bamba::bench

int main() {
  for (const bool add : {false, true}) {
    for (const int64_t rows : {1, 16, 256, 2048, 8192}) bamba::bench::measure_rms(rows, add);
  }
  for (const int64_t rows : {1, 16, 256, 2048, 8192}) bamba::bench::measure_gated(rows);
}
