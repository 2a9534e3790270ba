// Every operation of the backend once more: float64, plain loops, no cleverness. What the kernels are held against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace bamba::backend::reference {

using Table = std::vector<double>;  // row-major

inline double activate(double v, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return v / (1 + std::exp(-v));
    case Activation::gelu:
      return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
    case Activation::relu:
      return std::max(v, 0.0);
  }
  return 0;
}

/// weight * v / sqrt(mean(v^2) + eps) over each of `groups` parts.
inline void rms_norm(std::vector<double>& row, const float* weight, double eps, int64_t groups) {
  const size_t width = row.size() / static_cast<size_t>(groups);
  for (size_t g = 0; g < static_cast<size_t>(groups); ++g) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += row[g * width + i] * row[g * width + i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
    for (size_t i = 0; i < width; ++i) row[g * width + i] *= scale * weight[g * width + i];
  }
}

/// [count, channels]; window [width, channels] holds the inputs before row 0.
inline Table causal_conv(const Matrix& in, const SequenceRows& rows, const std::vector<float>& window,
                         const float* weight, const float* bias, ConvShape shape, Activation activation) {
  Table out;
  for (int64_t t = 0; t < rows.count; ++t) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      double sum = bias != nullptr ? bias[c] : 0;
      for (int64_t k = 0; k < shape.width; ++k) {
        const int64_t from = t - shape.width + 1 + k;
        const double input = from >= 0 ? in.data[(rows.first + from) * in.stride + c]
                                       : window[static_cast<size_t>((shape.width + from) * shape.channels + c)];
        sum += static_cast<double>(weight[k * shape.channels + c]) * input;
      }
      out.push_back(activate(sum, activation));
    }
  }
  return out;
}

struct ScanInputs {
  Matrix xbc;
  Matrix dt;
  SequenceRows rows;
  const float* a;
  const float* d;
  const float* dt_bias;
  ScanShape shape;

  double delta(int64_t t, int64_t h) const {
    const double raw = static_cast<double>(dt.data[(rows.first + t) * dt.stride + h]) + dt_bias[h];
    const double soft = raw > 0 ? raw + std::log1p(std::exp(-raw)) : std::log1p(std::exp(raw));
    return std::clamp(soft, static_cast<double>(shape.time_step_min), static_cast<double>(shape.time_step_max));
  }
  const float* row(int64_t t) const { return xbc.data + (rows.first + t) * xbc.stride; }
  double x(int64_t t, int64_t h, int64_t p) const { return row(t)[h * shape.d_head + p]; }
  double b(int64_t t, int64_t h, int64_t n) const {
    return row(t)[shape.n_heads * shape.d_head + h / (shape.n_heads / shape.n_groups) * shape.d_state + n];
  }
  double c(int64_t t, int64_t h, int64_t n) const {
    return row(
        t)[shape.n_heads * shape.d_head + (shape.n_groups + h / (shape.n_heads / shape.n_groups)) * shape.d_state + n];
  }
};

/// The recurrence; state [n_heads, d_state, d_head] is brought up to date; returns [count, n_heads * d_head].
inline Table scan_recurrence(const ScanInputs& in, Table& state) {
  const ScanShape& s = in.shape;
  Table out;
  for (int64_t t = 0; t < in.rows.count; ++t) {
    for (int64_t h = 0; h < s.n_heads; ++h) {
      const double delta = in.delta(t, h);
      const double decay = std::exp(delta * in.a[h]);
      for (int64_t p = 0; p < s.d_head; ++p) {
        double y = in.d[h] * in.x(t, h, p);
        for (int64_t n = 0; n < s.d_state; ++n) {
          double& cell = state[static_cast<size_t>((h * s.d_state + n) * s.d_head + p)];
          cell = decay * cell + delta * in.x(t, h, p) * in.b(t, h, n);
          y += cell * in.c(t, h, n);
        }
        out.push_back(y);
      }
    }
  }
  return out;
}

/// The block decomposition straight from its definition, chunks counted from the first row.
inline Table scan_blocks(const ScanInputs& in, Table& state) {
  const ScanShape& s = in.shape;
  Table out(static_cast<size_t>(in.rows.count * s.n_heads * s.d_head));
  for (int64_t h = 0; h < s.n_heads; ++h) {
    for (int64_t first = 0; first < in.rows.count; first += s.chunk_size) {
      const int64_t last = std::min(first + s.chunk_size, in.rows.count);
      // sum of Delta A over the tokens (j, i]
      const auto segment = [&](int64_t j, int64_t i) {
        double sum = 0;
        for (int64_t k = j + 1; k <= i; ++k) sum += in.delta(k, h) * in.a[h];
        return sum;
      };
      for (int64_t p = 0; p < s.d_head; ++p) {
        for (int64_t i = first; i < last; ++i) {
          double y = in.d[h] * in.x(i, h, p);
          for (int64_t j = first; j <= i; ++j) {
            double dot = 0;
            for (int64_t n = 0; n < s.d_state; ++n) dot += in.c(i, h, n) * in.b(j, h, n);
            y += dot * std::exp(segment(j, i)) * in.delta(j, h) * in.x(j, h, p);
          }
          for (int64_t n = 0; n < s.d_state; ++n) {
            y += std::exp(segment(first - 1, i)) * in.c(i, h, n) *
                 state[static_cast<size_t>((h * s.d_state + n) * s.d_head + p)];
          }
          out[static_cast<size_t>((i * s.n_heads + h) * s.d_head + p)] = y;
        }
      }
      for (int64_t n = 0; n < s.d_state; ++n) {
        for (int64_t p = 0; p < s.d_head; ++p) {
          double& cell = state[static_cast<size_t>((h * s.d_state + n) * s.d_head + p)];
          cell *= std::exp(segment(first - 1, last - 1));
          for (int64_t j = first; j < last; ++j) {
            cell += std::exp(segment(j, last - 1)) * in.delta(j, h) * in.x(j, h, p) * in.b(j, h, n);
          }
        }
      }
    }
  }
  return out;
}

/// Softmax weights of one query over keys [tokens, stride] (a head's columns already chosen).
inline std::vector<double> attention_weights(const float* query, const float* keys, int64_t stride, int64_t tokens,
                                             int64_t head_dim) {
  std::vector<double> weights;
  double best = -1e300;
  for (int64_t t = 0; t < tokens; ++t) {
    double score = 0;
    for (int64_t e = 0; e < head_dim; ++e) score += static_cast<double>(query[e]) * keys[t * stride + e];
    weights.push_back(score / std::sqrt(static_cast<double>(head_dim)));
    best = std::max(best, weights.back());
  }
  double total = 0;
  for (double& w : weights) total += w = std::exp(w - best);
  for (double& w : weights) w /= total;
  return weights;
}

}  // namespace bamba::backend::reference
