#include "backend/cuda/skinny.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::bf16;
using testing::DeviceVector;
using testing::Kind;

/// Memory as calls want it before the first, and leave it.
class Workspace {
 public:
  Workspace() : memory_(skinny_workspace_bytes()) {
    BAMBA_CUDA_CHECK(cudaMemset(memory_.data(), 0, skinny_workspace_bytes()));
  }
  void* data() { return memory_.data(); }
  bool is_zero() const {
    const std::vector<uint8_t> bytes = memory_.host();
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
  }

 private:
  DeviceVector<uint8_t> memory_;
};

/// Activations whose rows lie apart, with NaN between them.
template <typename T>
struct Rows {
  Rows(int64_t row_count, int64_t cols, int64_t gap, std::mt19937& engine)
      : stride(cols + gap), values(static_cast<size_t>(row_count * cols)) {
    std::vector<T> padded(static_cast<size_t>(row_count * stride));
    std::memset(static_cast<void*>(padded.data()), 0xFF, padded.size() * sizeof(T));
    const std::vector<float> source = testing::normals(engine, values.size());
    for (size_t i = 0; i < source.size(); ++i) {
      T& target = padded[i / static_cast<size_t>(cols) * static_cast<size_t>(stride) + i % static_cast<size_t>(cols)];
      if constexpr (sizeof(T) == 2) {
        target = bf16(source[i]);
        values[i] = static_cast<double>(__bfloat162float(target));
      } else {
        target = source[i];
        values[i] = static_cast<double>(target);
      }
    }
    device = std::make_unique<DeviceVector<T>>(padded);
  }

  static constexpr Element kElement = sizeof(T) == 2 ? Element::bf16 : Element::f32;
  int64_t stride;
  std::vector<double> values;
  std::unique_ptr<DeviceVector<T>> device;
};

/// out f32, [rows, out + 3].
std::vector<float> product(SkinnyArguments arguments, const std::vector<float>* before = nullptr) {
  const int64_t stride = arguments.weight.out + 3;
  DeviceVector<float> out(static_cast<size_t>(arguments.rows * stride));
  if (before != nullptr) {
    BAMBA_CUDA_CHECK(cudaMemcpy(out.data(), before->data(), before->size() * 4, cudaMemcpyHostToDevice));
  }
  arguments.out = out.data();
  arguments.out_element = Element::f32;
  arguments.out_stride = stride;
  skinny_linear(nullptr, arguments);
  return out.host();
}

bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

void expect_near_reference(const std::vector<float>& got, const testing::Reference& reference,
                           const SkinnyArguments& a) {
  const int64_t outs = a.weight.out;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t o = 0; o < outs; ++o) {
      const auto at = static_cast<size_t>(r * outs + o);
      const double expected = reference.result[at];
      const double error = std::abs(static_cast<double>(got[static_cast<size_t>(r * (outs + 3) + o)]) - expected);
      const double allowed = testing::tolerance(reference.magnitude[at], expected, a.weight.in, Element::f32);
      ASSERT_LE(error, allowed) << "row " << r << ", output " << o << ": expected " << expected;
    }
    for (int64_t o = outs; o < outs + 3; ++o) {
      uint32_t bits = 0;
      std::memcpy(&bits, &got[static_cast<size_t>(r * (outs + 3) + o)], 4);
      ASSERT_EQ(bits, 0xFFFFFFFFU) << "written past row " << r;
    }
  }
}

/// One weight against the reference for the most rows, and every other number of rows against that, bit for bit
/// where that is asked for.
template <typename T>
void check_rows(Kind kind, int64_t out, int64_t in, int64_t weight_gap, int64_t row_gap, std::vector<int64_t> counts,
                bool fast, std::mt19937& engine) {
  SCOPED_TRACE(testing::name(kind) + " [" + std::to_string(out) + ", " + std::to_string(in) + "]");
  Workspace workspace;
  const testing::TestWeight weight = testing::make_weight(kind, out, in, weight_gap, engine);
  const int64_t most = counts.back();
  const Rows<T> rows(most, in, row_gap, engine);
  SkinnyArguments a;
  a.weight = weight.device;
  a.in = rows.device->data();
  a.in_element = Rows<T>::kElement;
  a.in_stride = rows.stride;
  a.workspace = workspace.data();
  a.rows = most;
  a.exact = true;
  ASSERT_EQ(skinny_is_fast(a), fast);
  const std::vector<float> all = product(a);
  expect_near_reference(all, testing::multiply(rows.values, most, weight.values, out, in), a);
  for (const int64_t count : counts) {
    // The last rows, so that each one's place among the others changes as well.
    a.rows = count;
    a.in = rows.device->data() + (most - count) * rows.stride;
    const std::vector<float> some = product(a);
    for (int64_t r = 0; r < count; ++r) {
      ASSERT_TRUE(same_bits(some.data() + r * (out + 3), all.data() + (most - count + r) * (out + 3), out))
          << count << " rows, row " << r;
    }
  }
  // Few rows may be added up in another order, all in the same.
  a.exact = false;
  a.in = rows.device->data();
  std::vector<float> most_few;
  for (auto count = counts.rbegin(); count != counts.rend(); ++count) {
    if (*count > 8) continue;
    a.rows = *count;
    const std::vector<float> few = product(a);
    if (most_few.empty()) {
      most_few = few;
      const std::vector<double> values(rows.values.begin(), rows.values.begin() + a.rows * in);
      expect_near_reference(few, testing::multiply(values, a.rows, weight.values, out, in), a);
    }
    for (int64_t r = 0; r < *count; ++r) {
      const int64_t at = r * (out + 3);
      ASSERT_TRUE(same_bits(few.data() + at, most_few.data() + at, out)) << *count << " rows, row " << r;
    }
  }
  EXPECT_TRUE(workspace.is_zero());
}

TEST(CudaSkinny, MmaMatchesTheReferenceForAnyNumberOfRows) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(1);
  // One partial tile; tiles and chunks that end early; outputs whose inputs many blocks share; whole tiles.
  const std::pair<int64_t, int64_t> shapes[] = {{5, 16},     {200, 144},  {130, 2064},
                                                {64, 14336}, {4096, 256}, {17000, 64}};
  for (const Kind kind : testing::kKinds) {
    if (kind == Kind::f32) continue;
    for (const auto& [out, in] : shapes) {
      check_rows<__nv_bfloat16>(kind, out, in, 16, 8, {1, 2, 8, 9, 16, 17, 32}, true, engine);
    }
  }
}

TEST(CudaSkinny, PlainMatchesTheReferenceForAnyAlignment) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(2);
  for (const Kind kind : testing::kKinds) {
    const int64_t gap = kind == Kind::f32 ? 4 : kind == Kind::bf16 ? 2 : 1;
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{1, 1}, {37, 100}, {70, 1023}}) {
      check_rows<float>(kind, out, in, gap, 1, {1, 3, 8, 9, 33}, false, engine);
      check_rows<__nv_bfloat16>(kind, out, in, gap, 1, {1, 9}, false, engine);
    }
    check_rows<float>(kind, 300, 512, 16, 4, {1, 5, 40}, false, engine);
  }
}

TEST(CudaSkinny, AddsBiasAndWhatWasThere) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(3);
  constexpr int64_t kOut = 333;
  constexpr int64_t kRows = 11;
  for (const bool fast : {true, false}) {
    const int64_t in = fast ? 4096 : 127;
    Workspace workspace;
    const testing::TestWeight weight = testing::make_weight(Kind::q8, kOut, in, 16, engine);
    const Rows<__nv_bfloat16> rows(kRows, in, fast ? 0 : 1, engine);
    const std::vector<float> bias = testing::normals(engine, kOut);
    const DeviceVector<float> device_bias(bias);
    const std::vector<float> before = testing::normals(engine, kRows * (kOut + 3));
    SkinnyArguments a;
    a.weight = weight.device;
    a.in = rows.device->data();
    a.in_stride = rows.stride;
    a.rows = kRows;
    a.workspace = workspace.data();
    ASSERT_EQ(skinny_is_fast(a), fast);
    const std::vector<float> bare = product(a);
    a.bias = device_bias.data();
    a.accumulate = true;
    const std::vector<float> full = product(a, &before);
    DeviceVector<__nv_bfloat16> rounded(kRows * kOut);
    a.accumulate = false;
    a.out = rounded.data();
    a.out_stride = kOut;
    a.out_element = Element::bf16;
    skinny_linear(nullptr, a);
    const std::vector<__nv_bfloat16> narrow = rounded.host();
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t o = 0; o < kOut; ++o) {
        const auto at = static_cast<size_t>(r * (kOut + 3) + o);
        const float with_bias = bare[at] + bias[static_cast<size_t>(o)];
        ASSERT_EQ(full[at], with_bias + before[at]) << r << ", " << o;
        ASSERT_EQ(__bfloat162float(narrow[static_cast<size_t>(r * kOut + o)]), __bfloat162float(bf16(with_bias)));
      }
    }
  }
}

TEST(CudaSkinny, ReplaysFromAGraphAndOverlapsWithTheSameBits) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(4);
  constexpr int64_t kWidth = 1024;
  Workspace workspace;
  const testing::TestWeight weight = testing::make_weight(Kind::q4, kWidth, kWidth, 0, engine);
  const Rows<__nv_bfloat16> rows(3, kWidth, 0, engine);
  DeviceVector<__nv_bfloat16> middle(3 * kWidth);
  DeviceVector<float> out(3 * kWidth);
  const auto run = [&](cudaStream_t stream, bool overlap) {
    SkinnyArguments a;
    a.weight = weight.device;
    a.in = rows.device->data();
    a.in_stride = kWidth;
    a.rows = 3;
    a.out = middle.data();
    a.out_stride = kWidth;
    a.workspace = workspace.data();
    a.overlap_previous = overlap;
    skinny_linear(stream, a);
    a.in = middle.data();
    a.out = out.data();
    a.out_element = Element::f32;
    skinny_linear(stream, a);
  };
  cudaStream_t stream = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  run(stream, false);
  const std::vector<float> expected = out.host();
  for (const bool overlap : {false, true}) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    BAMBA_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    run(stream, overlap);
    BAMBA_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    BAMBA_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    for (int i = 0; i < 20; ++i) {
      BAMBA_CUDA_CHECK(cudaMemsetAsync(middle.data(), 0xFF, middle.size() * 2, stream));
      BAMBA_CUDA_CHECK(cudaMemsetAsync(out.data(), 0xFF, out.size() * 4, stream));
      BAMBA_CUDA_CHECK(cudaGraphLaunch(executable, stream));
      ASSERT_TRUE(same_bits(out.host().data(), expected.data(), 3 * kWidth)) << "overlap " << overlap << ", run " << i;
    }
    BAMBA_CUDA_CHECK(cudaGraphExecDestroy(executable));
    BAMBA_CUDA_CHECK(cudaGraphDestroy(graph));
  }
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));
}

/// Products in one launch: each against the reference and, for fewer rows, against its own bits; outputs of odd
/// numbers and places, biases and sums of which only some products have any.
TEST(CudaSkinny, ProductsShareALaunch) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(5);
  constexpr int64_t kMost = 32;
  for (const Kind kind : testing::kKinds) {
    if (kind == Kind::f32) continue;
    for (const auto& [outs, in] :
         {std::pair<std::vector<int64_t>, int64_t>{{300, 5, 129}, 2064}, {{1024, 640}, 4096}, {{7, 64, 65, 1}, 64}}) {
      SCOPED_TRACE(testing::name(kind) + ", " + std::to_string(outs.size()) + " of " + std::to_string(in));
      Workspace workspace;
      const Rows<__nv_bfloat16> rows(kMost, in, 8, engine);
      std::vector<testing::TestWeight> weights;
      std::vector<std::vector<float>> biases;
      std::vector<std::vector<float>> before;
      for (const int64_t out : outs) {
        weights.push_back(testing::make_weight(kind, out, in, 16, engine));
        biases.push_back(testing::normals(engine, static_cast<size_t>(out)));
        before.push_back(testing::normals(engine, static_cast<size_t>(kMost * (out + 3))));
      }
      const auto run = [&](int64_t count) {
        std::vector<std::unique_ptr<DeviceVector<float>>> memory;
        std::vector<std::unique_ptr<DeviceVector<float>>> added;
        SkinnyList list;
        for (size_t i = 0; i < outs.size(); ++i) {
          SkinnyArguments& a = list.products[list.count++];
          a.weight = weights[i].device;
          a.in = rows.device->data() + (kMost - count) * rows.stride;
          a.in_stride = rows.stride;
          a.rows = count;
          a.workspace = workspace.data();
          a.exact = true;
          a.out_element = Element::f32;
          a.out_stride = outs[i] + 3;
          a.accumulate = i % 2 == 1;
          memory.push_back(std::make_unique<DeviceVector<float>>(
              a.accumulate ? std::vector<float>(before[i].end() - count * a.out_stride, before[i].end())
                           : std::vector<float>(static_cast<size_t>(count * a.out_stride), NAN)));
          a.out = memory.back()->data();
          if (i % 3 == 0) {
            added.push_back(std::make_unique<DeviceVector<float>>(biases[i]));
            a.bias = added.back()->data();
          }
        }
        skinny_linears(nullptr, list);
        std::vector<std::vector<float>> results;
        for (size_t i = 0; i < outs.size(); ++i) {
          results.push_back(memory[i]->host());
        }
        return results;
      };
      const auto all = run(kMost);
      for (size_t i = 0; i < outs.size(); ++i) {
        const auto reference = testing::multiply(rows.values, kMost, weights[i].values, outs[i], in);
        for (int64_t r = 0; r < kMost; ++r) {
          for (int64_t o = 0; o < outs[i] + 3; ++o) {
            const auto at = static_cast<size_t>(r * (outs[i] + 3) + o);
            if (o >= outs[i]) {  // nothing is written past a row
              ASSERT_TRUE(i % 2 == 1 ? all[i][at] == before[i][at] : std::isnan(all[i][at])) << i << ", row " << r;
              continue;
            }
            const auto from = static_cast<size_t>(r * outs[i] + o);
            double expected = reference.result[from];
            double magnitude = reference.magnitude[from];
            for (const double more : {i % 3 == 0 ? static_cast<double>(biases[i][static_cast<size_t>(o)]) : 0.0,
                                      i % 2 == 1 ? static_cast<double>(before[i][at]) : 0.0}) {
              expected += more;
              magnitude += std::abs(more);
            }
            ASSERT_NEAR(static_cast<double>(all[i][at]), expected,
                        testing::tolerance(magnitude, expected, in, Element::f32))
                << "product " << i << ", row " << r << ", output " << o;
          }
        }
      }
      for (const int64_t count : {1, 8, 9, 17}) {
        const auto some = run(count);
        for (size_t i = 0; i < outs.size(); ++i) {
          const int64_t stride = outs[i] + 3;
          for (int64_t r = 0; r < count; ++r) {
            ASSERT_TRUE(same_bits(some[i].data() + r * stride, all[i].data() + (kMost - count + r) * stride, outs[i]))
                << count << " rows, product " << i << ", row " << r;
          }
        }
      }
      EXPECT_TRUE(workspace.is_zero());
    }
  }
}

/// Blocks that share a tile tell each other numbers by what memory holds: zero is nothing there.
TEST(CudaSkinny, SharedSumsMayBeZeroOrNan) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(8);
  constexpr int64_t kIn = 14336;
  constexpr int64_t kOut = 200;
  for (const int64_t count : {1, 5, 20}) {
    Workspace workspace;
    const testing::TestWeight weight = testing::make_weight(Kind::bf16, kOut, kIn, 0, engine);
    // The first row is zero, of the others the last input is NaN.
    std::vector<__nv_bfloat16> values(static_cast<size_t>(count * kIn), bf16(0.0f));
    for (int64_t r = 1; r < count; ++r) values[static_cast<size_t>((r + 1) * kIn - 1)] = bf16(NAN);
    const DeviceVector<__nv_bfloat16> rows(values);
    SkinnyArguments a;
    a.weight = weight.device;
    a.in = rows.data();
    a.in_stride = kIn;
    a.workspace = workspace.data();
    a.rows = count;
    for (int repeat = 0; repeat < 2; ++repeat) {
      const std::vector<float> got = product(a);
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t o = 0; o < kOut; ++o) {
          const float v = got[static_cast<size_t>(r * (kOut + 3) + o)];
          ASSERT_TRUE(r == 0 ? v == 0.0f : std::isnan(v)) << "row " << r << ", output " << o << ": " << v;
        }
      }
    }
    EXPECT_TRUE(workspace.is_zero());
  }
}

TEST(CudaSkinny, PlansCoverEveryUnitOnce) {
  for (const int64_t tiles : {1, 2, 32, 131, 224, 1002}) {
    for (const int64_t in : {8, 64, 4096, 8192, 14336}) {
      const SkinnyPlan plan = plan_skinny(tiles, in, 64, 132);
      EXPECT_LE(plan.blocks, 132);
      EXPECT_GE(int64_t{plan.blocks} * plan.per_block, int64_t{plan.tiles} * plan.chunks);
      EXPECT_LT(int64_t{plan.blocks - 1} * plan.per_block, int64_t{plan.tiles} * plan.chunks);
    }
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
