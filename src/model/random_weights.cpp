#include "model/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "base/fnv.h"
#include "base/str.h"

namespace bamba {
namespace {

/// splitmix64's finaliser: a bijection of 64 bits that passes for a random function of a counter.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

uint64_t hash_name(const std::string& name) {
  Fnv1a hash;
  hash.add(name);
  return hash.value();
}

/// Uniform in (0, 1) from 32 bits.
float unit(uint64_t bits32) {
  return (static_cast<float>(bits32 >> 8) + 0.5f) * 0x1p-24f;
}

/// Elements 2i and 2i + 1 of a stream of standard normal numbers (Box-Muller).
struct NormalPair {
  float first;
  float second;
};
NormalPair normal_pair(uint64_t key, int64_t i) {
  const uint64_t bits = mix(key ^ mix(static_cast<uint64_t>(i)));
  const float radius = std::sqrt(-2.0f * std::log(unit(bits >> 32)));
  const float angle = 2.0f * std::numbers::pi_v<float> * unit(bits & 0xFFFFFFFFU);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// One number of a uniform stream in (0, 1), in double.
double uniform(uint64_t key, int64_t i) {
  return (static_cast<double>(mix(key ^ mix(static_cast<uint64_t>(i))) >> 11) + 0.5) * 0x1p-53;
}

/// softplus(bias) log-uniform in [time_step_min, time_step_max], as mamba-ssm's Mamba2 initialises it; 1e-4 is its
/// dt_init_floor. The inverse of softplus is y + ln(1 - exp(-y)).
float inverse_softplus_of_step(const BambaConfig& config, double u) {
  const double low = std::log(config.time_step_min);
  const double high = std::log(config.time_step_max);
  const double step = std::max(std::exp(low + u * (high - low)), 1e-4);
  return static_cast<float>(step + std::log(-std::expm1(-step)));
}

void store(void* out, DType dtype, int64_t i, float value) {
  switch (dtype) {
    case DType::f32:
      static_cast<float*>(out)[i] = value;
      break;
    case DType::bf16:
      static_cast<bf16_t*>(out)[i] = to_bf16(value);
      break;
    case DType::f16:
      static_cast<f16_t*>(out)[i] = to_f16(value);
      break;
    default:
      fail(ErrorCode::invalid_argument, "weights cannot be made as ", dtype_safetensors_name(dtype),
           "; F32, F16 and BF16 can");
  }
}

/// Elements [first, first + count) of a stream of normal numbers times `range`.
void fill_normal(uint64_t key, float range, int64_t first, int64_t count, DType dtype, void* out) {
  for (int64_t i = first; i < first + count;) {
    const NormalPair pair = normal_pair(key, i / 2);
    if (i % 2 == 0) {
      store(out, dtype, i++ - first, pair.first * range);
      if (i == first + count) break;
    }
    store(out, dtype, i++ - first, pair.second * range);
  }
}

/// Elements of the block that MatrixInit::repeated repeats. A prime: rows of any width start at different places of it.
constexpr int64_t kBlockElements = 1'048'573;

}  // namespace

RandomWeights::RandomWeights(const BambaConfig& config, const InitOptions& init, DType dtype)
    : config_(config), init_(init), dtype_(dtype) {
  if (init.matrices == MatrixInit::normal) return;
  block_.resize(static_cast<size_t>(kBlockElements) * dtype_size(dtype));
  fill_normal(mix(init.seed), static_cast<float>(config.initializer_range), 0, kBlockElements, dtype, block_.data());
}

void RandomWeights::fill_matrix(const TensorSpec& spec, uint64_t key, int64_t first, int64_t count,
                                std::byte* out) const {
  if (init_.matrices == MatrixInit::normal) {
    fill_normal(key, static_cast<float>(config_.initializer_range), first, count, dtype_, out);
  } else {
    const size_t size = dtype_size(dtype_);
    auto place = static_cast<int64_t>((key % kBlockElements + static_cast<uint64_t>(first)) % kBlockElements);
    for (int64_t done = 0; done < count;) {
      const int64_t n = std::min(count - done, kBlockElements - place);
      std::memcpy(out + static_cast<size_t>(done) * size, block_.data() + static_cast<size_t>(place) * size,
                  static_cast<size_t>(n) * size);
      done += n;
      place = 0;
    }
  }
  if (spec.role == TensorRole::embedding && config_.pad_token_id) {
    const int64_t begin = *config_.pad_token_id * config_.hidden_size;
    const int64_t end = std::min(begin + config_.hidden_size, first + count);
    for (int64_t i = std::max(begin, first); i < end; ++i) store(out, dtype_, i - first, 0.0f);
  }
}

void RandomWeights::fill(const TensorSpec& spec, int64_t first, int64_t count, void* out) const {
  const uint64_t key = mix(init_.seed ^ hash_name(spec.name));
  const auto fill = [&](auto value_of) {
    for (int64_t i = 0; i < count; ++i) store(out, dtype_, i, value_of(first + i));
  };
  switch (spec.role) {
    case TensorRole::embedding:
    case TensorRole::linear:
    case TensorRole::conv_weight:
      fill_matrix(spec, key, first, count, static_cast<std::byte*>(out));
      break;
    case TensorRole::linear_bias:
    case TensorRole::conv_bias:
      fill([](int64_t) { return 0.0f; });
      break;
    case TensorRole::norm:
    case TensorRole::d:
      fill([](int64_t) { return 1.0f; });
      break;
    case TensorRole::a_log:
      fill([](int64_t i) { return static_cast<float>(std::log(static_cast<double>(i + 1))); });
      break;
    case TensorRole::dt_bias:
      if (init_.dt_bias == DtBiasInit::ones) {
        fill([](int64_t) { return 1.0f; });
      } else {
        fill([&](int64_t i) { return inverse_softplus_of_step(config_, uniform(key, i)); });
      }
      break;
  }
}

Tensor RandomWeights::tensor(const TensorSpec& spec, ThreadPool& pool) const {
  Tensor out = Tensor::empty(dtype_, spec.shape);
  constexpr int64_t kPiece = 1 << 16;
  const int64_t pieces = (out.numel() + kPiece - 1) / kPiece;
  pool.parallel_for(pieces, [&](int64_t piece, int) {
    const int64_t first = piece * kPiece;
    const int64_t count = std::min(kPiece, out.numel() - first);
    fill(spec, first, count, static_cast<std::byte*>(out.raw()) + static_cast<size_t>(first) * dtype_size(dtype_));
  });
  return out;
}

}  // namespace bamba
