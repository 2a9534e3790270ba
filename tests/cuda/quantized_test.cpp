// The packed layout of q8 and q4 on the host, and rows read back on the device.
#include <cstring>

#include "backend/backend.h"
#include "backend/cuda/quantized_rows.h"
#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;
using testing::Kind;

QuantizedMatrix random_matrix(WeightFormat format, int64_t out, int64_t in, std::mt19937& engine) {
  QuantizedMatrix matrix(format, out, in);
  const std::vector<float> source = testing::normals(engine, static_cast<size_t>(out * in));
  for (int64_t o = 0; o < out; ++o) {
    quantize_row(format, source.data() + o * in, in, matrix.row_scale(o), matrix.scales(o), matrix.codes(o));
  }
  return matrix;
}

TEST(CudaQuantized, PlacesAreOneForEachCode) {
  std::vector<int> seen(64, 0);
  for (int64_t k = 0; k < 128; ++k) {
    ASSERT_LT(q4_place(k), 64);
    ASSERT_EQ(q4_place(k), q4_place(k / 2 * 2));
    ++seen[static_cast<size_t>(q4_place(k))];
  }
  for (const int count : seen) EXPECT_EQ(count, 2);
  std::vector<int> scales(96, 0);
  for (int64_t o = 0; o < 96; ++o) ++scales[static_cast<size_t>(scale_place(o))];
  for (const int count : scales) EXPECT_EQ(count, 1);
}

TEST(CudaQuantized, PanelsOfTheCpuGiveTheSameBytes) {
  std::mt19937 engine(5);
  const auto cpu = make_cpu_backend(1);
  for (const WeightFormat format : {WeightFormat::q8, WeightFormat::q4}) {
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{1, 1}, {63, 32}, {64, 64}, {130, 96}, {200, 1000}}) {
      const QuantizedMatrix matrix = random_matrix(format, out, in, engine);
      const QuantizedLayout layout(format, out, in);
      std::vector<std::byte> direct(layout.bytes);
      pack_quantized(matrix, direct.data());
      // What pads between the parts is not written: zero in both.
      std::vector<std::byte> converted(layout.bytes);
      std::memset(converted.data(), 0x5A, static_cast<size_t>(out * layout.pitch));
      std::memset(converted.data() + layout.scales_offset, 0x5A,
                  static_cast<size_t>(layout.groups * layout.scale_pitch));
      const auto packed = cpu->pack_quantized(matrix);
      const int64_t panels = (out + 63) / 64;
      for (int64_t p = 0; p < panels; ++p) {
        pack_quantized_panels(format, out, in, packed->packed(), p, 1, converted.data());
      }
      EXPECT_EQ(direct, converted) << weight_format_name(format) << " [" << out << ", " << in << "]";
    }
  }
}

TEST(CudaQuantized, RowsComeBackAsTheyAre) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(6);
  for (const Kind kind : testing::kKinds) {
    for (const int64_t in : {1, 36, 256, 1000}) {
      const int64_t out = 70;
      SCOPED_TRACE(testing::name(kind) + ", " + std::to_string(in));
      const int64_t gap = kind == Kind::f32 ? 4 : kind == Kind::bf16 ? 2 : 1;
      const testing::TestWeight weight = testing::make_weight(kind, out, in, in == 256 ? 16 : gap, engine);
      const std::vector<int32_t> ids = {3, 69, 0, 3, 41};
      const DeviceVector<int32_t> device_ids(ids);
      DeviceVector<float> wide(ids.size() * static_cast<size_t>(in));
      DeviceVector<__nv_bfloat16> narrow(static_cast<size_t>(20 * (in + 8)));
      WeightRowsArguments a;
      a.weight = weight.device;
      a.ids = device_ids.data();
      a.rows = static_cast<int64_t>(ids.size());
      a.out = wide.data();
      a.out_element = Element::f32;
      a.out_stride = in;
      weight_rows(nullptr, a);
      a.ids = nullptr;
      a.first = 50;
      a.rows = 20;
      a.out = narrow.data();
      a.out_element = Element::bf16;
      a.out_stride = in + 8;
      weight_rows(nullptr, a);
      const std::vector<float> got_wide = wide.host();
      const std::vector<__nv_bfloat16> got_narrow = narrow.host();
      // At most two products are rounded in f32; bf16 then rounds to half of 2^-8.
      for (size_t i = 0; i < got_wide.size(); ++i) {
        const auto row = static_cast<size_t>(ids[i / static_cast<size_t>(in)]);
        const double expected = weight.values[row * static_cast<size_t>(in) + i % static_cast<size_t>(in)];
        ASSERT_NEAR(static_cast<double>(got_wide[i]), expected, std::abs(expected) * 0x1p-23) << i;
      }
      for (int64_t i = 0; i < 20 * in; ++i) {
        const double expected = weight.values[static_cast<size_t>((50 + i / in) * in + i % in)];
        const double got =
            static_cast<double>(__bfloat162float(got_narrow[static_cast<size_t>(i / in * (in + 8) + i % in)]));
        ASSERT_NEAR(got, expected, std::abs(expected) * 0x1.01p-8) << i;
      }
    }
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
