// The selective scan by Mamba-2's block decomposition (SSD): inside a chunk of Q tokens a masked matrix product, from
// chunk to chunk the recurrence of whole states. Chunks end at absolute multiples of chunk_size, wherever a pass
// happens to begin.
//
// With a_t = Delta_t A and c_i the sum of a_t up to token i of the chunk, all decays are exp of a difference
// c_i - c_j, j <= i, which is never positive. The sums are kept in f64: with strong decays they reach thousands,
// where an f32 difference has lost the digits that its exponential needs.
#include <algorithm>
#include <cmath>

#include "backend/cpu/mamba.h"
#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/scan_chunked.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::ScanArguments;
using cpu::Scratch;

HWY_INLINE int64_t round_up(int64_t n) {
  return (n + kGroup - 1) / kGroup * kGroup;
}

/// Heads of a task share C.B^T, whose cost would otherwise be d_state / d_head of each head's own products.
constexpr int64_t kHeadsPerTask = 8;

/// Scratch of one task; rows padded to 16 floats.
struct ChunkBuffers {
  int64_t tokens;       // Q, padded
  int64_t state_size;   // d_state, padded
  int64_t head_size;    // d_head, padded
  float* b_transposed;  // [d_state, Q]
  float* scores;        // [Q, Q]   C_i . B_j
  float* weights;       // [Q, Q]   scores * decay * Delta_j, and then the inputs of the state update
  float* x;             // [Q, d_head padded]
  float* y;             // [Q, d_head padded]
  float* state;         // [d_state, d_head padded]
  float* update;        // [d_state, d_head padded]

  static int64_t floats(const ScanShape& shape) {
    const int64_t q = round_up(shape.chunk_size);
    const int64_t s = round_up(shape.d_state);
    const int64_t p = round_up(shape.d_head);
    return s * q + 2 * q * q + std::max(s, q) * q + 2 * q * p + 2 * s * p;
  }
  ChunkBuffers(const ScanShape& shape, float* memory)
      : tokens(round_up(shape.chunk_size)), state_size(round_up(shape.d_state)), head_size(round_up(shape.d_head)) {
    const auto take = [&](int64_t count) {
      float* p = memory;
      memory += count;
      return p;
    };
    b_transposed = take(state_size * tokens);
    scores = take(tokens * tokens);
    weights = take(std::max(state_size, tokens) * tokens);
    x = take(tokens * head_size);
    y = take(tokens * head_size);
    state = take(state_size * head_size);
    update = take(state_size * head_size);
  }
};

/// scores[i][j] = C_i . B_j for the chunk's rows [row, row + count).
void chunk_scores(const ScanArguments& args, int64_t row, int64_t count, int64_t group, ChunkBuffers& buf) {
  const int64_t n_state = args.shape.d_state;
  std::fill_n(buf.b_transposed, n_state * buf.tokens, 0.0f);
  for (int64_t j = 0; j < count; ++j) {
    const float* b = args.b(row + j, group);
    for (int64_t n = 0; n < n_state; ++n) buf.b_transposed[n * buf.tokens + j] = b[n];
  }
  multiply(args.c(row, group), args.xbc.stride, count, buf.b_transposed, buf.tokens, round_up(count), n_state,
           buf.scores, buf.tokens, false);
}

void chunk_head(const ScanArguments& args, int64_t row, int64_t count, int64_t group, int64_t head, float* state,
                ChunkBuffers& buf, double* sums) {
  const ScanShape& shape = args.shape;
  const int64_t n_state = shape.d_state;
  const int64_t width = shape.d_head;
  const float* delta = args.delta + row * shape.n_heads + head;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += args.log_decay[(row + i) * shape.n_heads + head];
    sums[i] = sum;
  }
  // Inputs and state with padded rows.
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(args.x(row + i, head), width, buf.x + i * buf.head_size);
    std::fill(buf.x + i * buf.head_size + width, buf.x + (i + 1) * buf.head_size, 0.0f);
  }
  for (int64_t n = 0; n < n_state; ++n) {
    std::copy_n(state + n * width, width, buf.state + n * buf.head_size);
    std::fill(buf.state + n * buf.head_size + width, buf.state + (n + 1) * buf.head_size, 0.0f);
  }
  // y = exp(c_i) C_i . s_prev: the state's share, scaled after the product.
  multiply(args.c(row, group), args.xbc.stride, count, buf.state, buf.head_size, buf.head_size, n_state, buf.y,
           buf.head_size, false);
  for (int64_t i = 0; i < count; ++i) {
    const auto decay = hn::Set(F32(), static_cast<float>(std::exp(sums[i])));
    float* y = buf.y + i * buf.head_size;
    for (int64_t p = 0; p < buf.head_size; p += kLanes) {
      hn::StoreU(hn::Mul(hn::LoadU(F32(), y + p), decay), F32(), y + p);
    }
  }
  // The chunk's own share: lower-triangular weights times inputs.
  for (int64_t i = 0; i < count; ++i) {
    float* line = buf.weights + i * buf.tokens;
    for (int64_t j = 0; j <= i; ++j) {
      line[j] = buf.scores[i * buf.tokens + j] * delta[j * shape.n_heads];
    }
    HWY_ALIGN float exponents[kGroup];
    for (int64_t j = 0; j <= i; j += kGroup) {
      const int64_t n = std::min(kGroup, i + 1 - j);
      for (int64_t l = 0; l < n; ++l) exponents[l] = static_cast<float>(sums[i] - sums[j + l]);
      for (int64_t l = 0; l < n; l += kLanes) {
        store_n(hn::Mul(load_n(line + j + l, n - l), exp_f32(load_n(exponents + l, n - l))), line + j + l, n - l);
      }
    }
    std::fill(line + i + 1, line + count, 0.0f);
  }
  multiply(buf.weights, buf.tokens, count, buf.x, buf.head_size, buf.head_size, count, buf.y, buf.head_size, true);
  const auto skip = hn::Set(F32(), args.d[head]);
  for (int64_t i = 0; i < count; ++i) {
    float* out = args.out.data + (row + i) * args.out.stride + head * width;
    for (int64_t p = 0; p < width; p += kLanes) {
      const auto x = hn::LoadU(F32(), buf.x + i * buf.head_size + p);
      store_n(hn::MulAdd(skip, x, hn::LoadU(F32(), buf.y + i * buf.head_size + p)), out + p, width - p);
    }
  }
  // s = exp(c_last) s_prev + sum_j exp(c_last - c_j) Delta_j B_j (x) x_j.
  for (int64_t j = 0; j < count; ++j) {
    const auto scale = static_cast<float>(std::exp(sums[count - 1] - sums[j])) * delta[j * shape.n_heads];
    const float* b = args.b(row + j, group);
    for (int64_t n = 0; n < n_state; ++n) buf.weights[n * buf.tokens + j] = scale * b[n];
  }
  multiply(buf.weights, buf.tokens, n_state, buf.x, buf.head_size, buf.head_size, count, buf.update, buf.head_size,
           false);
  const auto decay = hn::Set(F32(), static_cast<float>(std::exp(sums[count - 1])));
  for (int64_t n = 0; n < n_state; ++n) {
    for (int64_t p = 0; p < width; p += kLanes) {
      const auto old = hn::LoadU(F32(), buf.state + n * buf.head_size + p);
      const auto add = hn::LoadU(F32(), buf.update + n * buf.head_size + p);
      store_n(hn::MulAdd(old, decay, add), state + n * width + p, width - p);
    }
  }
}

void scan_chunked(Context& context, const ScanArguments& args) {
  const ScanShape& shape = args.shape;
  const int64_t group_heads = shape.n_heads / shape.n_groups;
  const int64_t parts = (group_heads + kHeadsPerTask - 1) / kHeadsPerTask;
  const int64_t tasks_per_sequence = shape.n_groups * parts;
  const int64_t work = args.out.rows * shape.n_heads * shape.d_head * shape.d_state * 2;
  // The f64 sums live behind the float buffers.
  const int64_t floats = ChunkBuffers::floats(shape);
  const auto tasks = static_cast<int64_t>(args.sequences.size()) * tasks_per_sequence;
  context.parallel(tasks, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    const auto s = static_cast<size_t>(task / tasks_per_sequence);
    const int64_t group = task % tasks_per_sequence / parts;
    const int64_t head0 = group * group_heads + task % parts * kHeadsPerTask;
    const int64_t head1 = std::min((group + 1) * group_heads, head0 + kHeadsPerTask);
    float* memory = scratch.floats(floats + 2 * round_up(shape.chunk_size));
    ChunkBuffers buf(shape, memory);
    auto* sums = reinterpret_cast<double*>(memory + floats);
    const SequenceRows& rows = args.sequences[s];
    for (int64_t t = 0; t < rows.count;) {
      const int64_t to_boundary = shape.chunk_size - (rows.start + t) % shape.chunk_size;
      const int64_t count = std::min(to_boundary, rows.count - t);
      chunk_scores(args, rows.first + t, count, group, buf);
      for (int64_t head = head0; head < head1; ++head) {
        chunk_head(args, rows.first + t, count, group, head, args.states[s] + head * shape.d_state * shape.d_head, buf,
                   sums);
      }
      t += count;
    }
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(scan_chunked);

void cpu::scan_chunked(Context& context, const ScanArguments& arguments) {
  HWY_DYNAMIC_DISPATCH(scan_chunked)(context, arguments);
}
}  // namespace bamba::backend
#endif
