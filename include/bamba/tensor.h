// Tensor: a shaped, typed block of host memory, owning or a view into something that it keeps alive.
#pragma once

#include <bamba/dtype.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace bamba {

using Shape = std::vector<int64_t>;

/// Number of elements of a shape. Throws Error(invalid_argument) on a negative dimension or on overflow of 63 bits.
int64_t shape_numel(std::span<const int64_t> shape);

/// Row-major, contiguous. Copying a Tensor copies the handle, not the elements (use clone()).
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialised / zero-filled owning tensors, aligned to 64 bytes. Throw Error(out_of_memory).
  static Tensor empty(DType dtype, Shape shape);
  static Tensor zeros(DType dtype, Shape shape);
  /// Copies `values`; throws Error(invalid_argument) unless the shape's element count equals values.size().
  static Tensor from(std::span<const float> values, Shape shape);
  static Tensor from(std::span<const int64_t> values, Shape shape);
  /// A view of `data` (of shape_numel(shape) elements) that holds `owner` alive.
  static Tensor view(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> owner);

  explicit operator bool() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// Length of an axis, which must be below rank().
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  size_t rank() const { return shape_.size(); }
  int64_t numel() const { return numel_; }
  size_t nbytes() const { return static_cast<size_t>(numel_) * dtype_size(dtype_); }

  const void* raw() const { return data_; }
  void* raw() { return data_; }

  /// Typed access; throws Error(invalid_argument) when T is not the tensor's type.
  template <typename T>
  std::span<T> data();
  template <typename T>
  std::span<const T> data() const;

  /// A copy with its own memory.
  Tensor clone() const;
  /// A converted copy (floating types to floating types, integers to integers, nonzero to true); same type: a clone.
  /// Throws Error(invalid_argument) for other pairs of types and for an integer that the new type cannot hold.
  Tensor to(DType dtype) const;
  /// Same elements, other shape, sharing memory. Throws Error(invalid_argument) when the counts differ.
  Tensor reshape(Shape shape) const;

  /// "F32 [2, 3]"
  std::string describe() const;

 private:
  void check_type(DType wanted) const;

  DType dtype_ = DType::f32;
  Shape shape_;
  int64_t numel_ = 0;
  void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16_t> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16_t> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

template <typename T>
std::span<T> Tensor::data() {
  check_type(DTypeOf<T>::value);
  return {static_cast<T*>(data_), static_cast<size_t>(numel_)};
}
template <typename T>
std::span<const T> Tensor::data() const {
  check_type(DTypeOf<T>::value);
  return {static_cast<const T*>(data_), static_cast<size_t>(numel_)};
}

}  // namespace bamba
