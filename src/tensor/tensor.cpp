#include <bamba/error.h>
#include <bamba/tensor.h>
#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

#include "base/str.h"

namespace bamba {
namespace {

std::shared_ptr<void> allocate_aligned(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  // Memory that is new costs a page fault for each page, which takes longer than filling the page does.
  const bool huge = bytes >= 4 * kHugePage;
  const std::align_val_t alignment{huge ? kHugePage : 64};
  void* memory = ::operator new(bytes == 0 ? 1 : bytes, alignment, std::nothrow);
  if (memory == nullptr) fail(ErrorCode::out_of_memory, "cannot allocate ", bytes, " bytes for a tensor");
#ifdef MADV_HUGEPAGE
  // Advice: where it is refused, the block works all the same. The rest of the last page is not ours.
  if (huge) static_cast<void>(madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE));
#endif
  return {memory, [alignment](void* pointer) { ::operator delete(pointer, alignment); }};
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16 || dtype == DType::f16;
}

double load_float(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<const float*>(data)[i];
    case DType::f64:
      return static_cast<const double*>(data)[i];
    case DType::bf16:
      return to_float(static_cast<const bf16_t*>(data)[i]);
    default:
      return to_float(static_cast<const f16_t*>(data)[i]);
  }
}

void store_float(void* data, DType dtype, int64_t i, double value) {
  switch (dtype) {
    case DType::f32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::f64:
      static_cast<double*>(data)[i] = value;
      break;
    case DType::bf16:
      static_cast<bf16_t*>(data)[i] = to_bf16(static_cast<float>(value));
      break;
    default:
      static_cast<f16_t*>(data)[i] = to_f16(static_cast<float>(value));
      break;
  }
}

bool is_integer(DType dtype) {
  return dtype == DType::i64 || dtype == DType::i32 || dtype == DType::u8 || dtype == DType::i8 ||
         dtype == DType::boolean;
}

int64_t load_integer(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::i64:
      return static_cast<const int64_t*>(data)[i];
    case DType::i32:
      return static_cast<const int32_t*>(data)[i];
    case DType::i8:
      return static_cast<const int8_t*>(data)[i];
    default:
      return static_cast<const uint8_t*>(data)[i];
  }
}

void store_integer(void* data, DType dtype, int64_t i, int64_t value) {
  switch (dtype) {
    case DType::i64:
      static_cast<int64_t*>(data)[i] = value;
      break;
    case DType::i32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value);
      break;
    case DType::i8:
      static_cast<int8_t*>(data)[i] = static_cast<int8_t>(value);
      break;
    case DType::boolean:
      static_cast<uint8_t*>(data)[i] = value != 0 ? 1 : 0;
      break;
    default:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
  }
}

bool fits(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::i32:
      return std::in_range<int32_t>(value);
    case DType::i8:
      return std::in_range<int8_t>(value);
    case DType::u8:
      return std::in_range<uint8_t>(value);
    default:
      return true;
  }
}

}  // namespace

int64_t shape_numel(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) fail(ErrorCode::invalid_argument, "shape ", list_str(shape), " has a negative dimension");
    if (__builtin_mul_overflow(count, dim, &count)) {
      fail(ErrorCode::invalid_argument, "shape ", list_str(shape), " has more elements than 63 bits can count");
    }
  }
  return count;
}

Tensor Tensor::empty(DType dtype, Shape shape) {
  Tensor out;
  out.dtype_ = dtype;
  out.numel_ = shape_numel(shape);
  out.shape_ = std::move(shape);
  size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(out.numel_), dtype_size(dtype), &bytes)) {
    fail(ErrorCode::out_of_memory, "a tensor ", out.describe(), " does not fit in memory");
  }
  auto memory = allocate_aligned(bytes);
  out.data_ = memory.get();
  out.owner_ = std::move(memory);
  return out;
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor out = empty(dtype, std::move(shape));
  std::memset(out.data_, 0, out.nbytes());
  return out;
}

namespace {
template <typename T>
Tensor filled(Tensor out, std::span<const T> values) {
  if (out.numel() != static_cast<int64_t>(values.size())) {
    fail(ErrorCode::invalid_argument, values.size(), " values do not fill a tensor ", out.describe());
  }
  if (!values.empty()) std::memcpy(out.raw(), values.data(), out.nbytes());
  return out;
}
}  // namespace

Tensor Tensor::from(std::span<const float> values, Shape shape) {
  return filled(empty(DType::f32, std::move(shape)), values);
}
Tensor Tensor::from(std::span<const int64_t> values, Shape shape) {
  return filled(empty(DType::i64, std::move(shape)), values);
}

Tensor Tensor::view(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> owner) {
  Tensor out;
  out.dtype_ = dtype;
  out.numel_ = shape_numel(shape);
  out.shape_ = std::move(shape);
  // Views of read-only maps are handed out as const tensors by their makers; one class serves both.
  out.data_ = const_cast<void*>(data);
  out.owner_ = std::move(owner);
  return out;
}

Tensor Tensor::clone() const {
  Tensor out = empty(dtype_, shape_);
  if (numel_ > 0) std::memcpy(out.data_, data_, nbytes());
  return out;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return clone();
  Tensor out = empty(dtype, shape_);
  if (is_float(dtype_) && is_float(dtype)) {
    for (int64_t i = 0; i < numel_; ++i) store_float(out.data_, dtype, i, load_float(data_, dtype_, i));
  } else if (is_integer(dtype_) && is_integer(dtype)) {
    for (int64_t i = 0; i < numel_; ++i) {
      const int64_t value = load_integer(data_, dtype_, i);
      if (!fits(dtype, value)) {
        fail(ErrorCode::invalid_argument, "cannot convert a tensor ", describe(), " to ", dtype_safetensors_name(dtype),
             ": element ", i, " is ", value);
      }
      store_integer(out.data_, dtype, i, value);
    }
  } else {
    fail(ErrorCode::invalid_argument, "cannot convert a tensor ", describe(), " to ", dtype_safetensors_name(dtype),
         " (floating to floating or integer to integer only)");
  }
  return out;
}

Tensor Tensor::reshape(Shape shape) const {
  if (shape_numel(shape) != numel_) {
    fail(ErrorCode::invalid_argument, "cannot reshape ", describe(), " to ", list_str<int64_t>(shape));
  }
  Tensor out = *this;
  out.shape_ = std::move(shape);
  return out;
}

std::string Tensor::describe() const {
  return str(dtype_safetensors_name(dtype_), " ", list_str<int64_t>(shape_));
}

void Tensor::check_type(DType wanted) const {
  if (dtype_ != wanted) {
    fail(ErrorCode::invalid_argument, "a tensor ", describe(), " was used as ", dtype_safetensors_name(wanted));
  }
}

}  // namespace bamba
