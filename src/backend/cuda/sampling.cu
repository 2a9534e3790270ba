// A block per row. Passes over all logits are few: the best, the sum of exponentials, and the collecting of the tokens
// that can still be chosen; what follows looks at these only. Where they cannot be told beforehand (a flat
// distribution, thousands of equals), it looks at all tokens each time: slower, with the same results.
#include "backend/cuda/sampling.h"

#include <cuda_bf16.h>

#include "backend/cuda/check.h"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/sampling_block.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kListTokens = 4096;
// Tokens to collect where no top-k says how many; enough for the nucleus of a confident distribution.
constexpr int kNucleusTokens = 512;

struct Shared {
  double doubles[kSamplingWarps];
  uint32_t integers[kSamplingWarps];
  uint64_t wide[kSamplingWarps];
  float list_scores[kListTokens];
  int32_t list_ids[kListTokens];
};

__device__ uint32_t block_sum(uint32_t value, Shared& shared) {
  return over_block(value, shared.integers, [](uint32_t a, uint32_t b) { return a + b; });
}
__device__ double block_sum(double value, Shared& shared) {
  return over_block(value, shared.doubles, [](double a, double b) { return a + b; });
}

/// One row's tokens, cut into one run of ids per warp: all of them, or the list of those collected. Scores are those
/// after the temperature.
template <typename Element>
struct Tokens {
  const Element* logits;
  int vocab;
  float temperature;
  Shared& shared;
  bool listed = false;
  int list_size = 0;

  __device__ float raw(int id) const {
    const float value = to_float(logits[id]);
    return value == value ? value : -INFINITY;
  }
  __device__ float scaled(float value) const {
    // A tiny temperature must not make infinities, whose differences are NaN.
    if (temperature == 1.0f || value == -INFINITY) return value;
    return fminf(fmaxf(__fdiv_rn(value, temperature), -3.402823466e38f), 3.402823466e38f);
  }

  __device__ int size() const { return listed ? list_size : vocab; }
  __device__ int id(int index) const { return listed ? shared.list_ids[index] : index; }
  __device__ float score(int index) const { return listed ? shared.list_scores[index] : scaled(raw(index)); }
  /// Indices of a warp's run: [first(warp), first(warp + 1)).
  __device__ int first(int warp) const {
    const int run = (size() + kSamplingThreads - 1) / kSamplingThreads * 32;
    return min(warp * run, size());
  }
  /// visit(score, id) for this thread's share.
  template <typename Visit>
  __device__ void each(Visit visit) const {
    const int warp = static_cast<int>(threadIdx.x / 32);
    const int end = first(warp + 1);
#pragma unroll 8
    for (int i = first(warp) + static_cast<int>(threadIdx.x % 32); i < end; i += 32) visit(score(i), id(i));
  }

  /// Makes the list of the tokens with at least this key; false when they are too many.
  __device__ bool collect(uint32_t least) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp = static_cast<int>(threadIdx.x / 32);
    uint32_t own = 0;
    each([&](float value, int) { own += score_key(value) >= least ? 1 : 0; });
    own = __reduce_add_sync(~0U, own);
    __syncthreads();
    if (lane == 0) shared.integers[warp] = own;
    __syncthreads();
    uint32_t total = 0;
    uint32_t at = 0;
    for (int w = 0; w < kSamplingWarps; ++w) {
      if (w == warp) at = total;
      total += shared.integers[w];
    }
    if (total > kListTokens) return false;
    const int end = first(warp + 1);
    for (int base = first(warp); base < end; base += 32) {
      const float value = base + lane < end ? score(base + lane) : -INFINITY;
      const bool taken = base + lane < end && score_key(value) >= least;
      const uint32_t votes = __ballot_sync(~0U, taken);
      if (taken) {
        const uint32_t place = at + __popc(votes & ((1U << lane) - 1));
        shared.list_scores[place] = value;
        shared.list_ids[place] = base + lane;
      }
      at += __popc(votes);
    }
    __syncthreads();
    list_size = static_cast<int>(total);
    return true;
  }
};

/// The tokens that may be chosen: by key, and of those with the least key the ones from an id on.
struct Kept {
  uint32_t least_key = kLowestKey;
  int least_id = 0;
  float best;              // score
  float least_weight = 0;  // of exp(score - best) / weight_total, for min-p
  float weight_total = 1;

  __device__ float weight(float score) const { return expf(score - best); }
  __device__ bool holds(float score, int id) const {
    const uint32_t key = score_key(score);
    if (key < least_key || (key == least_key && id < least_id)) return false;
    return least_weight <= 0 || __fdiv_rn(weight(score), weight_total) >= least_weight;
  }
};

template <typename Element>
__device__ double kept_weight(const Tokens<Element>& tokens, const Kept& kept) {
  double sum = 0;
  tokens.each([&](float score, int id) {
    if (kept.holds(score, id)) sum += kept.weight(score);
  });
  return block_sum(sum, tokens.shared);
}

template <typename Element, typename Counts>
__device__ uint32_t count_where(const Tokens<Element>& tokens, Counts counts) {
  uint32_t own = 0;
  tokens.each([&](float score, int id) { own += counts(score_key(score), id) ? 1 : 0; });
  return block_sum(own, tokens.shared);
}

/// Top-k: equals of the k-th best all stay.
template <typename Element>
__device__ void keep_top_k(const Tokens<Element>& tokens, uint32_t k, Kept& kept) {
  const uint32_t key = largest_where(
      [&](uint32_t least) { return count_where(tokens, [&](uint32_t own, int) { return own >= least; }) >= k; });
  kept.least_key = max(key, kLowestKey);
}

/// Top-p: from the best down, of equals the higher id first, while the probability not yet taken is above 1 - top_p.
/// weight_sum: of all kept.
template <typename Element>
__device__ void keep_top_p(const Tokens<Element>& tokens, double top_p, double weight_sum, Kept& kept) {
  const auto limit = static_cast<float>(1.0 - top_p);
  const auto total = static_cast<float>(weight_sum);
  const double mass = weight_sum / total;
  const auto left_at = [&](uint32_t key) {  // when all better ones are taken
    double better = 0;
    tokens.each([&](float score, int) {
      if (score_key(score) > key) better += kept.weight(score);
    });
    return mass - block_sum(better, tokens.shared) / total;
  };
  // The largest key at which nothing is left to take is one below that of the last tokens taken.
  const uint32_t best_key = score_key(kept.best);
  const uint32_t below =
      largest_where([&](uint32_t key) { return key < best_key && static_cast<float>(left_at(key)) <= limit; });
  const uint32_t key = max(below + 1, kept.least_key);
  double left = left_at(key);
  const uint32_t equals = count_where(tokens, [&](uint32_t own, int) { return own == key; });
  const float each = __fdiv_rn(kept.weight(key_score(key)), total);
  uint32_t taken = 0;
  while (taken < equals && (static_cast<float>(left) > limit || (taken == 0 && key == best_key))) {
    left -= each;
    ++taken;
  }
  kept.least_key = key;
  kept.least_id = 0;
  if (taken < equals) {
    kept.least_id = static_cast<int>(largest_where([&](uint32_t least) {
      return least <= INT32_MAX && count_where(tokens, [&](uint32_t own, int id) {
                                     return own == key && id >= static_cast<int>(least);
                                   }) >= taken;
    }));
  }
}

/// Min-p: what has at least this share of the best one's probability.
template <typename Element>
__device__ void keep_min_p(const Tokens<Element>& tokens, float min_p, Kept& kept) {
  const auto total = static_cast<float>(kept_weight(tokens, kept));
  kept.weight_total = total;
  kept.least_weight = __fdiv_rn(1.0f, total) * min_p;
}

/// The token at `uniform` of [0, 1) in the kept ones' weights, by increasing id. All threads call; one gets it, the
/// others -1. With broken weights (no logit above -infinity, an infinite one) it is `otherwise`.
template <typename Element>
__device__ int draw(const Tokens<Element>& tokens, const Kept& kept, double uniform, int otherwise) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const auto weight_of = [&](float score, int id) { return kept.holds(score, id) ? double{kept.weight(score)} : 0.0; };
  double own = 0;
  tokens.each([&](float score, int id) { own += weight_of(score, id); });
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) own += __shfl_xor_sync(~0U, own, mask);
  auto& sums = tokens.shared.doubles;
  __syncthreads();
  if (lane == 0) sums[warp] = own;
  __syncthreads();
  double total = 0;
  for (int w = 0; w < kSamplingWarps; ++w) total += sums[w];
  if (!(total > 0)) return threadIdx.x == 0 ? otherwise : -1;
  const double target = uniform * total;
  // The warp whose run has it; should rounding leave it at the total, the last that has any.
  int chosen = 0;
  double before = 0;
  double sum = 0;
  for (int w = 0; w < kSamplingWarps; ++w) {
    if (sums[w] <= 0) continue;
    chosen = w;
    before = sum;
    sum += sums[w];
    if (target < sum) break;
  }
  if (warp != chosen) return -1;

  int last = -1;
  const int end = tokens.first(warp + 1);
  for (int base = tokens.first(warp); base < end; base += 32) {
    const int index = base + lane;
    const double weight = index < end ? weight_of(tokens.score(index), tokens.id(index)) : 0.0;
    double running = weight;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const double other = __shfl_up_sync(~0U, running, distance);
      if (lane >= distance) running += other;
    }
    const uint32_t possible = __ballot_sync(~0U, weight > 0);
    const uint32_t past = __ballot_sync(~0U, weight > 0 && target < before + running);
    if (past != 0) {
      last = base + __ffs(static_cast<int>(past)) - 1;
      break;
    }
    if (possible != 0) last = base + 31 - __clz(static_cast<int>(possible));
    before += __shfl_sync(~0U, running, 31);
  }
  return lane == 0 && last >= 0 ? tokens.id(last) : -1;
}

/// Narrows `tokens` to a list that certainly has all that the settings keep, where that can be told. thread_best: the
/// best key of this thread's share of all tokens; weight_sum: of all tokens.
template <typename Element>
__device__ void narrow(Tokens<Element>& tokens, const SamplingRow& row, uint32_t thread_best, double weight_sum,
                       const Kept& kept) {
  const int wanted = row.top_k > 0 ? row.top_k : kNucleusTokens;
  if (wanted > kSamplingThreads) return;
  // As many tokens as there are threads with a best one this good are at least this good.
  const uint32_t found =
      largest_where([&](uint32_t least) { return __syncthreads_count(thread_best >= least ? 1 : 0) >= wanted; });
  const uint32_t least = max(found, kLowestKey);
  if (!tokens.collect(least)) return;
  bool complete = row.top_k > 0 || found <= kLowestKey;
  if (!complete) {
    tokens.listed = true;
    const double listed_weight = kept_weight(tokens, kept);
    tokens.listed = false;
    const auto total = static_cast<float>(weight_sum);
    if (row.top_p < 1.0) {
      complete = static_cast<float>((weight_sum - listed_weight) / total) <= static_cast<float>(1.0 - row.top_p);
    } else {
      complete = kept.weight(key_score(least)) < 0.999f * row.min_p;  // a margin for rounding
    }
  }
  tokens.listed = complete;
}

template <typename Element>
__global__ __launch_bounds__(kSamplingThreads) void sample_kernel(SamplingArguments<Element> a) {
  __shared__ Shared shared;
  const int64_t r = blockIdx.x;
  const SamplingRow row = a.settings == nullptr ? SamplingRow{} : a.settings[r];
  const bool greedy = a.settings == nullptr || row.temperature == 0.0f;
  Tokens<Element> tokens{a.logits + r * a.stride, static_cast<int>(a.vocab), greedy ? 1.0f : row.temperature, shared};

  // The best token: keys of the logits above, ids below, larger for lower ids.
  uint64_t best = 0;
  uint32_t broken = UINT32_MAX;  // the first token that is not finite
  {
    const int warp = static_cast<int>(threadIdx.x / 32);
    const int end = tokens.first(warp + 1);
#pragma unroll 8
    for (int i = tokens.first(warp) + static_cast<int>(threadIdx.x % 32); i < end; i += 32) {
      const float value = to_float(tokens.logits[i]);
      if (!isfinite(value)) broken = min(broken, static_cast<uint32_t>(i));
      const uint64_t entry = uint64_t{score_key(tokens.raw(i))} << 32 | (0xFFFFFFFFU - static_cast<uint32_t>(i));
      best = entry > best ? entry : best;
    }
  }
  const auto thread_key = static_cast<uint32_t>(best >> 32);
  const uint32_t thread_best = best == 0 ? 0 : score_key(tokens.scaled(key_score(thread_key)));
  best = over_block(best, shared.wide, [](uint64_t x, uint64_t y) { return x > y ? x : y; });
  if (a.report_broken) {
    broken = over_block(broken, shared.integers, [](uint32_t x, uint32_t y) { return x < y ? x : y; });
    if (broken != UINT32_MAX) {
      if (threadIdx.x == 0) a.ids[r] = -1 - static_cast<int32_t>(broken);
      return;
    }
  }
  const float best_raw = key_score(static_cast<uint32_t>(best >> 32));
  const auto best_id = static_cast<int>(0xFFFFFFFFU - static_cast<uint32_t>(best));
  Kept kept;
  kept.best = tokens.scaled(best_raw);

  const bool filtered = !greedy && (row.top_k > 0 || row.top_p < 1.0 || row.min_p >= 0);
  double raw_sum = 0;
  double weight_sum = 0;
  if (a.logprobs != nullptr || (filtered && row.top_k <= 0)) {
    tokens.each([&](float, int id) {
      const float value = tokens.raw(id);
      raw_sum += expf(value - best_raw);
      weight_sum += kept.weight(tokens.scaled(value));
    });
    raw_sum = block_sum(raw_sum, shared);
    weight_sum = block_sum(weight_sum, shared);
  }

  int chosen = threadIdx.x == 0 ? best_id : -1;
  if (!greedy) {
    if (filtered) narrow(tokens, row, thread_best, weight_sum, kept);
    if (row.top_k > 0) keep_top_k(tokens, static_cast<uint32_t>(row.top_k), kept);
    if (row.top_p < 1.0) {
      keep_top_p(tokens, row.top_p, row.top_k > 0 ? kept_weight(tokens, kept) : weight_sum, kept);
    }
    if (row.min_p >= 0) keep_min_p(tokens, row.min_p, kept);
    chosen = draw(tokens, kept, row.uniform, best_id);
  }
  if (chosen >= 0) {
    a.ids[r] = chosen;
    if (a.logprobs != nullptr) {
      a.logprobs[r] = static_cast<float>(double{tokens.raw(chosen)} - double{best_raw} - log(raw_sum));
    }
  }
}

}  // namespace

template <typename Element>
void sample(cudaStream_t stream, const SamplingArguments<Element>& a) {
  if (a.rows == 0) return;
  sample_kernel<Element><<<static_cast<unsigned>(a.rows), kSamplingThreads, 0, stream>>>(a);
  BAMBA_CUDA_CHECK_LAUNCH();
}

template void sample(cudaStream_t, const SamplingArguments<float>&);
template void sample(cudaStream_t, const SamplingArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
