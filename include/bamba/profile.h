// Where a model's time goes: each operation of the forward with its time, and the bytes and arithmetic it needs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bamba {

/// Which of a machine's peaks an operation's arithmetic is held against (MachineRoof).
enum class Arithmetic {
  f32,   ///< floating-point multiply-adds
  int8,  ///< dot products of 8-bit integers with 32-bit sums
  bf16,  ///< products of bf16 with f32 sums, on a GPU's tensor cores
};

/// All calls of one operation since the last reset. Sums, not averages.
struct OperationProfile {
  std::string name;  ///< "linear mamba.in_proj", "selective_scan", ...
  int64_t calls = 0;
  double seconds = 0;
  /// What must move at least: every operand and result once, weights in the format they are held in. Rows that several
  /// operations share may come from caches, so that more of them moves in a second than the memory could give.
  double bytes = 0;
  /// Additions, multiplications and elementary functions (exp, sqrt) of the plain formula; a multiply-add is two.
  double flops = 0;
  Arithmetic arithmetic = Arithmetic::f32;
};

/// Collects OperationProfiles. Give one to RunOptions::profile and read it between forwards. Thread-safe.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// In the order in which they first ran.
  std::vector<OperationProfile> operations() const;
  /// Forgets what was counted.
  void reset();

  /// Adds to the operation of that name; for the library's own rooms.
  void add(std::string_view name, double seconds, double bytes, double flops, Arithmetic arithmetic);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bamba
