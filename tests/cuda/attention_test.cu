#include "cuda/attention_support.h"

namespace bamba::backend::cuda {
namespace {

using Bf16 = __nv_bfloat16;
using testing::device_rows;
using testing::DeviceVector;
using testing::first_tokens;
using testing::host_rows;
using testing::normals;
using testing::rounded;
using testing::TestPages;

enum class Way { prefill, spans };

/// Sequences with all their tokens' queries, keys and values, of which a pass takes any part.
template <typename Element>
struct Sequences {
  AttentionShape shape;
  std::vector<int64_t> lengths;
  std::vector<std::vector<float>> queries;  // [length, n_heads * head_dim]
  std::vector<std::vector<float>> keys;     // [n_kv_heads, length, head_dim], as the pages hold them
  std::vector<std::vector<float>> values;

  Sequences(const AttentionShape& shape_, const std::vector<int64_t>& lengths_, unsigned seed)
      : shape(shape_), lengths(lengths_) {
    std::mt19937 engine(seed);
    for (const int64_t length : lengths) {
      const auto numbers = static_cast<size_t>(length * shape.head_dim);
      const auto heads = static_cast<size_t>(shape.n_heads);
      const auto kv_heads = static_cast<size_t>(shape.n_kv_heads);
      // Scores of a few units: weights are neither flat nor all on one key.
      queries.push_back(rounded<Element>(normals(engine, numbers * heads, 2)));
      keys.push_back(in_pages(normals(engine, numbers * kv_heads)));
      values.push_back(in_pages(normals(engine, numbers * kv_heads)));
    }
  }
  std::vector<float> in_pages(const std::vector<float>& v) const {
    return shape.kv == KvFormat::f32 ? v : rounded<Bf16>(v);
  }
  int64_t width() const { return shape.n_heads * shape.head_dim; }
};

struct Pass {
  size_t sequence;
  int64_t start;
  int64_t count;
};

/// Runs one pass; returns the rows of its tokens, in the order of `passes`. Between the sequences' rows lies a row of
/// nobody's, which must stay as it was.
template <typename Element>
std::vector<float> run(const Sequences<Element>& all, const std::vector<Pass>& passes, Way way, int64_t pad = 8,
                       int64_t tiles_at_once = 1 << 20) {
  std::mt19937 engine(7);
  const AttentionShape& shape = all.shape;
  std::vector<SequenceRows> rows;
  std::vector<float> queries;
  std::vector<int64_t> tokens;
  const auto gap = [&] { queries.insert(queries.end(), static_cast<size_t>(all.width()), NAN); };
  int64_t next = 0;
  int64_t longest = 0;
  int64_t most = 0;
  for (const Pass& pass : passes) {
    rows.push_back({next, pass.count, pass.start});
    const auto from = all.queries[pass.sequence].begin() + pass.start * all.width();
    queries.insert(queries.end(), from, from + pass.count * all.width());
    gap();
    next += pass.count + 1;
    tokens.push_back(pass.start + pass.count);
    longest = std::max(longest, tokens.back());
    most = std::max(most, pass.count);
  }
  const TestPages pages(tokens, shape, engine);
  for (size_t i = 0; i < passes.size(); ++i) {
    const DeviceVector<float> keys(first_tokens(all.keys[passes[i].sequence], shape, tokens[i]));
    const DeviceVector<float> values(first_tokens(all.values[passes[i].sequence], shape, tokens[i]));
    kv_write(nullptr, {pages.table(i), tokens[i], shape}, keys.data(), values.data());
    BAMBA_CUDA_CHECK(cudaDeviceSynchronize());
  }
  const int64_t stride = all.width() + pad;
  const auto device_queries = device_rows<Element>(queries, all.width(), stride);
  DeviceVector<Element> out(static_cast<size_t>(next * stride));
  const int64_t tile_rows = way == Way::prefill ? kPrefillTileRows : span_tile_rows<Element>(shape, most);
  std::vector<AttentionTile> tiles = attention_tiles(rows, shape, tile_rows);
  tiles.insert(tiles.begin() + 1, AttentionTile{-1, 0});  // lists are padded to their upper bound
  tiles.push_back({0, 1 << 20});
  const DeviceVector<AttentionTile> device_tiles(tiles);
  const DeviceVector<SequenceRows> device_rows_of(rows);
  const AttentionArguments<Element> arguments{.queries = device_queries->data(),
                                              .query_stride = stride,
                                              .out = out.data(),
                                              .out_stride = stride,
                                              .shape = shape,
                                              .sequences = {device_rows_of.data(), pages.all()},
                                              .tiles = device_tiles.data(),
                                              .n_tiles = static_cast<int64_t>(tiles.size())};
  if (way == Way::prefill) {
    if constexpr (std::is_same_v<Element, Bf16>) {
      EXPECT_TRUE(attention_prefill_runs(arguments));
      attention_prefill(nullptr, arguments);
    }
  } else {
    const int64_t at_once = std::min<int64_t>(arguments.n_tiles, tiles_at_once);
    const size_t bytes = attention_spans_workspace_bytes<Element>(shape, at_once, tile_rows, longest);
    DeviceVector<uint8_t> workspace(bytes);
    attention_spans(nullptr, arguments, {tile_rows, longest, workspace.data(), bytes});
  }
  const auto got = host_rows(out, all.width(), stride);
  std::vector<float> own;
  for (const SequenceRows& r : rows) {
    const auto from = got.begin() + r.first * all.width();
    own.insert(own.end(), from, from + r.count * all.width());
    EXPECT_TRUE(std::isnan(from[r.count * all.width()])) << "a row of nobody's was written";
  }
  return own;
}

/// softmax(q k / sqrt(head_dim)) v in f64, and the bound: bf16 kernels round weights (2^-8 of each) and the result
/// (2^-8); f32 ones err by the rounding of scores of some 10 units, added over head_dim terms (1e-5 of each weight).
template <typename Element>
void expect_right(const Sequences<Element>& all, const std::vector<Pass>& passes, const std::vector<float>& got,
                  bool rounds_weights) {
  const AttentionShape& shape = all.shape;
  const int64_t dim = shape.head_dim;
  size_t at = 0;
  for (const Pass& pass : passes) {
    const int64_t length = all.lengths[pass.sequence];
    for (int64_t t = pass.start; t < pass.start + pass.count; ++t) {
      for (int64_t h = 0; h < shape.n_heads; ++h, at += static_cast<size_t>(dim)) {
        const int64_t kv_head = h / (shape.n_heads / shape.n_kv_heads);
        const float* query = all.queries[pass.sequence].data() + t * all.width() + h * dim;
        const float* keys = all.keys[pass.sequence].data() + kv_head * length * dim;
        const float* values = all.values[pass.sequence].data() + kv_head * length * dim;
        std::vector<double> weights(static_cast<size_t>(t + 1));
        double best = -INFINITY;
        for (int64_t s = 0; s <= t; ++s) {
          double score = 0;
          for (int64_t e = 0; e < dim; ++e) score += double{query[e]} * double{keys[s * dim + e]};
          weights[static_cast<size_t>(s)] = score / std::sqrt(static_cast<double>(dim));
          best = std::max(best, weights[static_cast<size_t>(s)]);
        }
        double total = 0;
        for (double& w : weights) total += w = std::exp(w - best);
        std::vector<double> want(static_cast<size_t>(dim));
        std::vector<double> size(static_cast<size_t>(dim));
        for (int64_t s = 0; s <= t; ++s) {
          const double w = weights[static_cast<size_t>(s)] / total;
          for (int64_t e = 0; e < dim; ++e) {
            want[static_cast<size_t>(e)] += w * double{values[s * dim + e]};
            size[static_cast<size_t>(e)] += w * std::abs(double{values[s * dim + e]});
          }
        }
        for (size_t e = 0; e < static_cast<size_t>(dim); ++e) {
          const double weight_error = rounds_weights ? 0x1p-8 * 1.05 : 1e-5;
          const double result_error = std::is_same_v<Element, Bf16> ? 0x1p-8 * std::abs(want[e]) : 0;
          ASSERT_NEAR(got[at + e], want[e], weight_error * size[e] + result_error + 1e-6)
              << "sequence " << pass.sequence << " token " << t << " head " << h << " dim " << e;
        }
      }
    }
  }
}

const std::vector<int64_t> kLengths = {333, 1, 64, 129, 705};
const std::vector<Pass> kPasses = {{0, 0, 333}, {1, 0, 1}, {2, 0, 64}, {3, 100, 29}, {4, 512, 193}};
const std::vector<Pass> kDecodes = {{0, 332, 1}, {1, 0, 1}, {2, 63, 1}, {3, 128, 1}, {4, 704, 1}};
const AttentionShape kPrefillShapes[] = {{8, 2, 128, 64, KvFormat::bf16},
                                         {3, 3, 64, 32, KvFormat::bf16},
                                         {6, 2, 128, 64, KvFormat::bf16},
                                         {14, 1, 64, 32, KvFormat::bf16}};

TEST(CudaAttention, PrefillOnTensorCores) {
  BAMBA_SKIP_WITHOUT_GPU();
  for (const AttentionShape& shape : kPrefillShapes) {
    const Sequences<Bf16> all(shape, kLengths, 11);
    expect_right(all, kPasses, run(all, kPasses, Way::prefill), true);
    expect_right(all, kDecodes, run(all, kDecodes, Way::prefill), true);
  }
}

TEST(CudaAttention, SpansOnTensorCores) {
  BAMBA_SKIP_WITHOUT_GPU();
  for (const AttentionShape& shape : kPrefillShapes) {
    const Sequences<Bf16> all(shape, kLengths, 12);
    expect_right(all, kPasses, run(all, kPasses, Way::spans), true);
    expect_right(all, kDecodes, run(all, kDecodes, Way::spans), true);
  }
}

TEST(CudaAttention, SpansOfManyTokens) {
  BAMBA_SKIP_WITHOUT_GPU();
  const Sequences<Bf16> all({32, 8, 128, 64, KvFormat::bf16}, {5000, 2049}, 13);
  const std::vector<Pass> passes = {{0, 4999, 1}, {1, 2046, 3}};
  expect_right(all, passes, run(all, passes, Way::spans), true);
  expect_right(all, passes, run(all, passes, Way::prefill), true);
}

template <typename Element>
void check_general(const AttentionShape& shape, int64_t pad = 8) {
  const Sequences<Element> all(shape, kLengths, 14);
  expect_right(all, kPasses, run(all, kPasses, Way::spans, pad), false);
  expect_right(all, kDecodes, run(all, kDecodes, Way::spans, pad), false);
}

TEST(CudaAttention, GeneralPath) {
  BAMBA_SKIP_WITHOUT_GPU();
  check_general<float>({4, 2, 128, 64, KvFormat::f32});
  check_general<float>({4, 2, 128, 64, KvFormat::bf16}, 1);
  check_general<float>({40, 2, 16, 8, KvFormat::f32});
  check_general<float>({2, 2, 10, 4, KvFormat::bf16}, 0);
  check_general<float>({2, 1, 256, 128, KvFormat::f32});
  check_general<Bf16>({4, 1, 80, 40, KvFormat::bf16});
  check_general<Bf16>({4, 2, 64, 32, KvFormat::f32});
  check_general<Bf16>({2, 1, 192, 96, KvFormat::bf16});
  check_general<Bf16>({4, 2, 64, 32, KvFormat::bf16}, 3);  // unaligned rows
}

/// Bits of a token do not depend on its company nor on how its sequence was cut into passes, nor on the run.
template <typename Element>
void check_invariance(const AttentionShape& shape, Way way) {
  const Sequences<Element> all(shape, kLengths, 15);
  const std::vector<float> whole = run(all, kPasses, way);
  EXPECT_EQ(whole, run(all, kPasses, way)) << "another run";
  std::vector<Pass> reversed(kPasses.rbegin(), kPasses.rend());
  const std::vector<float> others = run(all, reversed, way);
  const auto first_of = [&](const std::vector<float>& rows) {
    return std::vector<float>(rows.begin(), rows.begin() + 333 * all.width());
  };
  EXPECT_EQ(first_of(whole), std::vector<float>(others.end() - 333 * all.width(), others.end())) << "another order";
  EXPECT_EQ(first_of(whole), run(all, {{0, 0, 333}}, way)) << "alone";
  std::vector<float> parts;
  for (const Pass& part : {Pass{0, 0, 1}, Pass{0, 1, 70}, Pass{0, 71, 129}, Pass{0, 200, 132}, Pass{0, 332, 1}}) {
    const std::vector<float> rows = run(all, {part}, way);
    parts.insert(parts.end(), rows.begin(), rows.end());
  }
  EXPECT_EQ(first_of(whole), parts) << "cut into passes";
}

TEST(CudaAttention, BitsDependOnTheOwnSequenceOnly) {
  BAMBA_SKIP_WITHOUT_GPU();
  check_invariance<Bf16>({8, 2, 128, 64, KvFormat::bf16}, Way::prefill);
  check_invariance<Bf16>({3, 1, 64, 32, KvFormat::bf16}, Way::prefill);
  check_invariance<Bf16>({8, 2, 128, 64, KvFormat::bf16}, Way::spans);
  check_invariance<Bf16>({3, 1, 64, 32, KvFormat::bf16}, Way::spans);
  check_invariance<float>({4, 2, 128, 64, KvFormat::f32}, Way::spans);
}

TEST(CudaAttention, ASmallWorkspaceChangesNothing) {
  BAMBA_SKIP_WITHOUT_GPU();
  const Sequences<Bf16> all({8, 2, 128, 64, KvFormat::bf16}, kLengths, 16);
  EXPECT_EQ(run(all, kPasses, Way::spans), run(all, kPasses, Way::spans, 8, 3));
  const Sequences<float> general({6, 2, 24, 12, KvFormat::f32}, kLengths, 16);
  EXPECT_EQ(run(general, kPasses, Way::spans), run(general, kPasses, Way::spans, 8, 3));
}

template <typename Element>
void check_weights(const AttentionShape& shape) {
  std::mt19937 engine(17);
  const int64_t start = 90;
  const int64_t count = 7;
  const int64_t tokens = start + count;
  const Sequences<Element> all(shape, {tokens}, 18);
  const TestPages pages({tokens}, shape, engine);
  const DeviceVector<float> keys(all.keys[0]);
  const DeviceVector<float> values(all.values[0]);
  kv_write(nullptr, {pages.table(0), tokens, shape}, keys.data(), values.data());
  const auto queries = device_rows<Element>(
      std::vector<float>(all.queries[0].begin() + start * all.width(), all.queries[0].end()), all.width(), all.width());
  const int64_t row_stride = tokens + 3;
  const int64_t head_stride = count * row_stride + 5;
  DeviceVector<float> weights(static_cast<size_t>(shape.n_heads * head_stride));
  attention_weights<Element>(nullptr, {.queries = queries->data(),
                                       .query_stride = all.width(),
                                       .sequence = {0, count, start},
                                       .pages = pages.table(0),
                                       .shape = shape,
                                       .weights = weights.data(),
                                       .head_stride = head_stride,
                                       .row_stride = row_stride});
  const auto got = weights.host();
  for (int64_t h = 0; h < shape.n_heads; ++h) {
    for (int64_t t = 0; t < count; ++t) {
      const float* row = got.data() + h * head_stride + t * row_stride;
      std::vector<double> want(static_cast<size_t>(tokens));
      double total = 0;
      for (int64_t s = 0; s <= start + t; ++s) {
        double score = 0;
        for (int64_t e = 0; e < shape.head_dim; ++e) {
          const auto kv_head = h / (shape.n_heads / shape.n_kv_heads);
          score += double{all.queries[0][static_cast<size_t>((start + t) * all.width() + h * shape.head_dim + e)]} *
                   double{all.keys[0][static_cast<size_t>((kv_head * tokens + s) * shape.head_dim + e)]};
        }
        total += want[static_cast<size_t>(s)] = std::exp(score / std::sqrt(static_cast<double>(shape.head_dim)));
      }
      for (int64_t s = 0; s < tokens; ++s) {
        ASSERT_NEAR(row[s], want[static_cast<size_t>(s)] / total, 1e-5 * want[static_cast<size_t>(s)] / total);
      }
      for (int64_t s = tokens; s < row_stride; ++s) ASSERT_TRUE(std::isnan(row[s])) << "written past the row";
    }
  }
}

TEST(CudaAttention, WeightsWrittenOut) {
  BAMBA_SKIP_WITHOUT_GPU();
  check_weights<float>({4, 2, 128, 64, KvFormat::f32});
  check_weights<Bf16>({4, 2, 128, 64, KvFormat::bf16});
  check_weights<Bf16>({6, 2, 24, 12, KvFormat::bf16});
}

TEST(CudaAttention, TilesCoverAllRowsLongestFirst) {
  const AttentionShape shape{8, 2, 128, 64, KvFormat::bf16};
  const auto tiles = attention_tiles(std::vector<SequenceRows>{{0, 40, 0}, {40, 1, 900}, {41, 0, 3}}, shape, 128);
  ASSERT_EQ(tiles.size(), 3U);  // 160 rows, 4 rows, none
  EXPECT_EQ(tiles[0].sequence, 1);
  EXPECT_EQ(tiles[1].sequence, 0);
  EXPECT_EQ(tiles[1].first_row, 128);
  EXPECT_EQ(tiles[2].first_row, 0);
}

}  // namespace
}  // namespace bamba::backend::cuda
