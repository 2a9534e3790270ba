// Weights of every kind for the tests of linear layers: on the device, and as exact values on the host.
#pragma once

#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/fp8_weight.h"
#include "backend/cuda/quantized_weight.h"
#include "backend/cuda/skinny.h"
#include "cuda/device.h"

namespace bamba::backend::cuda::testing {

inline __nv_bfloat16 bf16(float value) {
  return __float2bfloat16_rn(value);
}

struct TestWeight {
  DeviceWeight device;
  std::vector<double> values;  ///< [out, in]
  std::vector<std::shared_ptr<void>> memory;

  template <typename T>
  const T* keep(const std::vector<T>& host) {
    auto vector = std::make_shared<DeviceVector<T>>(host);
    memory.push_back(vector);
    return vector->data();
  }
};

enum class Kind { f32, bf16, fp8, fp8_blocks, q8, q4 };
inline constexpr Kind kKinds[] = {Kind::f32, Kind::bf16, Kind::fp8, Kind::fp8_blocks, Kind::q8, Kind::q4};
inline std::string name(Kind kind) {
  constexpr const char* kNames[] = {"f32", "bf16", "fp8", "fp8 blocks", "q8", "q4"};
  return kNames[static_cast<size_t>(kind)];
}

/// f32, bf16 and fp8 rows lie `gap` bytes apart, filled with 0xFF: NaN in each of them.
inline TestWeight make_weight(Kind kind, int64_t out, int64_t in, int64_t gap, std::mt19937& engine) {
  const std::vector<float> source = normals(engine, static_cast<size_t>(out * in), 0.5f);
  TestWeight weight;
  weight.values.resize(source.size());
  weight.device.out = out;
  weight.device.in = in;
  const auto rows_of_bytes = [&](auto element) {
    using T = decltype(element(size_t{0}));
    const auto row_bytes = static_cast<size_t>(in) * sizeof(T);
    const size_t pitch = row_bytes + static_cast<size_t>(gap);
    std::vector<uint8_t> bytes(static_cast<size_t>(out) * pitch, 0xFF);
    for (size_t i = 0; i < source.size(); ++i) {
      const T value = element(i);
      const size_t at = i / static_cast<size_t>(in) * pitch + i % static_cast<size_t>(in) * sizeof(T);
      std::memcpy(bytes.data() + at, &value, sizeof(T));
    }
    weight.device.codes = weight.keep(bytes);
    weight.device.pitch = static_cast<int64_t>(pitch);
  };
  switch (kind) {
    case Kind::f32:
      weight.device.kind = WeightKind::f32;
      rows_of_bytes([&](size_t i) { return source[i]; });
      for (size_t i = 0; i < source.size(); ++i) weight.values[i] = static_cast<double>(source[i]);
      break;
    case Kind::bf16:
      weight.device.kind = WeightKind::bf16;
      rows_of_bytes([&](size_t i) { return bf16(source[i]); });
      for (size_t i = 0; i < source.size(); ++i) {
        weight.values[i] = static_cast<double>(__bfloat162float(bf16(source[i])));
      }
      break;
    case Kind::fp8:
    case Kind::fp8_blocks: {
      weight.device.kind = WeightKind::fp8;
      const bool blocks = kind == Kind::fp8_blocks;
      const int64_t block_columns = (in + kFp8Block - 1) / kFp8Block;
      std::vector<uint8_t> codes(source.size());
      std::vector<float> scales(static_cast<size_t>(blocks ? (out + kFp8Block - 1) / kFp8Block * block_columns : out));
      (blocks ? fp8_quantize_blocks : fp8_quantize_rows)(source.data(), out, in, codes.data(), scales.data());
      rows_of_bytes([&](size_t i) { return codes[i]; });
      for (int64_t i = 0; i < out * in; ++i) {
        const int64_t o = i / in;
        const int64_t scale = blocks ? o / kFp8Block * block_columns + i % in / kFp8Block : o;
        weight.values[static_cast<size_t>(i)] = static_cast<double>(from_e4m3(codes[static_cast<size_t>(i)])) *
                                                static_cast<double>(scales[static_cast<size_t>(scale)]);
      }
      (blocks ? weight.device.block_scales : weight.device.row_scales) = weight.keep(scales);
      break;
    }
    default: {
      const WeightFormat format = kind == Kind::q8 ? WeightFormat::q8 : WeightFormat::q4;
      QuantizedMatrix matrix(format, out, in);
      for (int64_t o = 0; o < out; ++o) {
        quantize_row(format, source.data() + o * in, in, matrix.row_scale(o), matrix.scales(o), matrix.codes(o));
        for (int64_t k = 0; k < in; ++k) {
          const int code = matrix.codes(o)[k];
          const int level = format == WeightFormat::q8 ? code : int{kQ4Levels[static_cast<size_t>(code)]};
          weight.values[static_cast<size_t>(o * in + k)] = static_cast<double>(*matrix.row_scale(o)) *
                                                           static_cast<double>(matrix.scales(o)[k / matrix.group]) *
                                                           level;
        }
      }
      std::vector<std::byte> packed(QuantizedLayout(format, out, in).bytes);
      pack_quantized(matrix, packed.data());
      weight.device = quantized_device_weight(format, out, in, weight.keep(packed));
    }
  }
  return weight;
}

/// in * weight^T in f64, and what rounding errors are measured by: the sum of the products' magnitudes.
struct Reference {
  std::vector<double> result;  ///< [rows, out]
  std::vector<double> magnitude;
};
inline Reference multiply(const std::vector<double>& in, int64_t rows, const std::vector<double>& weight, int64_t out,
                          int64_t inputs) {
  Reference reference;
  reference.result.resize(static_cast<size_t>(rows * out));
  reference.magnitude.resize(reference.result.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t k = 0; k < inputs; ++k) {
        const double product = in[static_cast<size_t>(r * inputs + k)] * weight[static_cast<size_t>(o * inputs + k)];
        sum += product;
        magnitude += std::abs(product);
      }
      reference.result[static_cast<size_t>(r * out + o)] = sum;
      reference.magnitude[static_cast<size_t>(r * out + o)] = magnitude;
    }
  }
  return reference;
}

/// Tensor cores add 16 products and the sum so far with an error of at most about 2^-23 of their magnitudes, some of it
/// by cutting off; so do inputs / 16 of them, and a few additions follow. Rounding to bf16 costs half of 2^-8.
inline double tolerance(double magnitude, double result, int64_t inputs, Element out) {
  return magnitude * std::ldexp(static_cast<double>(inputs) / 8 + 16, -24) +
         (out == Element::bf16 ? std::abs(result) * 0x1p-8 : 0) + 1e-30;
}

}  // namespace bamba::backend::cuda::testing
