// Subnormal numbers as zeros while kernels run.
//
// States decay towards zero and softmax weights underflow, so numbers below 2^-126 do occur; some processors take a
// hundred cycles over each operation on one (the scan of a long prompt became several times slower). Against the sums
// they would be added to they are nothing.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <cstdint>

namespace bamba::backend::cpu {

/// Sets the calling thread's processor to flush for as long as it lives; then to what it was before.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : before_(_mm_getcsr()) {
    _mm_setcsr(before_ | kFlush);
  }
  ~FlushSubnormals() {
    _mm_setcsr(before_);
  }
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | kFlush));
  }
  ~FlushSubnormals() {
    asm volatile("msr fpcr, %0" : : "r"(before_));
  }
#else
  FlushSubnormals() = default;
  ~FlushSubnormals() = default;
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlush = 0x8040;  // MXCSR: flush to zero, denormals are zero
  unsigned before_;
#elif defined(__aarch64__)
  static constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPCR.FZ
  uint64_t before_;
#endif
};

}  // namespace bamba::backend::cpu
