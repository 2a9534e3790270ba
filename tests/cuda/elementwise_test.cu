#include "backend/cuda/elementwise.h"

#include "cuda/attention_support.h"

namespace bamba::backend::cuda {
namespace {

using Bf16 = __nv_bfloat16;
using testing::device_rows;
using testing::DeviceVector;
using testing::host_rows;
using testing::normals;
using testing::rounded;

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::relu:
      return std::max(x, 0.0);
  }
  return 0;
}

template <typename Element>
void check_gated(int64_t rows, int64_t cols, int64_t pad) {
  std::mt19937 engine(21);
  const int64_t stride = 2 * cols + pad;
  // One matrix, gate | up, as a product writes it; values far out too.
  auto both = rounded<Element>(normals(engine, static_cast<size_t>(rows * 2 * cols), 4));
  both[0] = 100;
  both[1] = -100;
  for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    const auto device = device_rows<Element>(both, 2 * cols, stride);
    gated_activation<Element>(nullptr, {device->data(), stride, device->data() + cols, stride, rows, cols, activation});
    const auto got = host_rows(*device, 2 * cols, stride);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto gate = static_cast<size_t>(r * 2 * cols + c);
        const auto up = gate + static_cast<size_t>(cols);
        const double want = activated(both[gate], activation) * both[up];
        // The functions in f32: a few units of an argument up to 16 (1 - erf or 1 - tanh cancel), then the element's
        // rounding.
        const double step = sizeof(Element) == 2 ? 0x1p-8 : 1e-6;
        ASSERT_NEAR(got[gate], want, step * std::abs(want) + 2e-6 * std::abs(double{both[up]}));
        ASSERT_EQ(got[up], both[up]);
      }
    }
  }
}

TEST(CudaElementwise, GatedActivations) {
  BAMBA_SKIP_WITHOUT_GPU();
  check_gated<float>(3, 1024, 0);
  check_gated<float>(5, 77, 3);
  check_gated<Bf16>(3, 4096, 8);
  check_gated<Bf16>(7, 33, 1);
  check_gated<Bf16>(70000, 8, 0);  // more rows than a grid has
}

template <typename From, typename To>
void check_copy(int64_t cols, int64_t in_pad, int64_t out_pad, bool with_index) {
  std::mt19937 engine(22);
  const int64_t table_rows = 50;
  const int64_t rows = with_index ? 20 : table_rows;
  const auto values = rounded<From>(normals(engine, static_cast<size_t>(table_rows * cols)));
  const auto in = device_rows<From>(values, cols, cols + in_pad);
  std::vector<int32_t> index(static_cast<size_t>(rows));
  for (auto& i : index) i = static_cast<int32_t>(engine() % 52) - 2;
  index[3] = -1;
  const DeviceVector<int32_t> device_index(index);
  DeviceVector<To> out(static_cast<size_t>(rows * (cols + out_pad)));
  copy_rows<From, To>(nullptr, {in->data(), cols + in_pad, with_index ? device_index.data() : nullptr, out.data(),
                                cols + out_pad, rows, cols});
  const auto got = host_rows(out, cols + out_pad, cols + out_pad);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = with_index ? index[static_cast<size_t>(r)] : r;
    for (int64_t c = 0; c < cols + out_pad; ++c) {
      const float value = got[static_cast<size_t>(r * (cols + out_pad) + c)];
      if (from < 0 || c >= cols) {
        ASSERT_TRUE(std::isnan(value)) << "left alone";
      } else {
        ASSERT_EQ(value, rounded<To>(values[static_cast<size_t>(from * cols + c)]));
      }
    }
  }
}

TEST(CudaElementwise, CopiesConvertAndGather) {
  BAMBA_SKIP_WITHOUT_GPU();
  for (const bool with_index : {false, true}) {
    for (const int64_t cols : {4096, 24, 7}) {
      for (const int64_t pad : {0, 8, 5}) {
        check_copy<float, float>(cols, pad, 8, with_index);
        check_copy<float, Bf16>(cols, 0, pad, with_index);
        check_copy<Bf16, float>(cols, pad, 0, with_index);
        check_copy<Bf16, Bf16>(cols, 8, pad, with_index);
      }
    }
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
