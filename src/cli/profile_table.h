// Where the time of a phase went, operation by operation, held against what the machine can do at best.
#pragma once

#include <bamba/machine.h>
#include <bamba/profile.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "cli/output.h"

namespace bamba::cli {

/// "f32", "int8" or "bf16".
const char* arithmetic_name(Arithmetic arithmetic);
/// Operations a second at best.
double peak_of(Arithmetic arithmetic, const MachineRoof& roof);

/// What bounds an operation, and how near to that bound it ran.
struct RoofShare {
  bool memory;   ///< its bytes take longer than its arithmetic would
  double share;  ///< the least time that the machine allows / the time it took
};
RoofShare roof_share(const OperationProfile& operation, const MachineRoof& roof);

/// Operations of several equal units of work (runs, decoding steps).
struct ProfilePhase {
  std::string_view unit;  ///< "a prompt run", "a decoding step"
  double units = 1;
  double seconds = 0;  ///< of all units, operations and what lies between them
  std::vector<OperationProfile> operations;
};

/// The most expensive operation first; seconds, calls, bytes and flops are those of one unit.
Json profile_json(const ProfilePhase& phase, const MachineRoof& roof);
void print_profile(std::string_view title, const ProfilePhase& phase, const MachineRoof& roof, Output& out);

}  // namespace bamba::cli
