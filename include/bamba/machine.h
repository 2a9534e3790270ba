// The machine that models run on: what its processors and memory can do at best.
#pragma once

#include <string>

namespace bamba {

/// Measured with all threads, or on the whole GPU; a benchmark divides what it reached by it.
struct MachineRoof {
  int threads = 0;
  double read_bytes_per_second = 0;  ///< of memory that no cache holds
  double f32_flops_per_second = 0;   ///< a multiply-add counts as two
  double int8_ops_per_second = 0;    ///< dot products of 8-bit integers with 32-bit sums; a multiply-add counts as two
  double bf16_flops_per_second = 0;  ///< products of bf16 with f32 sums; 0 where they were not measured
};

/// Takes about a second and 512 MiB of memory meanwhile. threads <= 0: as many as the process may use.
/// Throws Error(out_of_memory).
MachineRoof measure_machine(int threads = 0);

/// The instruction set that the CPU's kernels run with here: "AVX-512", "AVX2", "SSE4", ...
std::string cpu_target_name();

}  // namespace bamba
