#include "cli/profile_table.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/str.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

std::vector<OperationProfile> by_time(std::vector<OperationProfile> operations) {
  std::stable_sort(operations.begin(), operations.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return operations;
}

double sum_of_seconds(const std::vector<OperationProfile>& operations) {
  double sum = 0;
  for (const OperationProfile& operation : operations) sum += operation.seconds;
  return sum;
}

/// All matrix products as one operation. Those of another arithmetic than most of the work are left out.
OperationProfile all_linear(const std::vector<OperationProfile>& operations) {
  OperationProfile sums[3];
  for (const OperationProfile& operation : operations) {
    if (!operation.name.starts_with("linear ")) continue;
    OperationProfile& sum = sums[static_cast<size_t>(operation.arithmetic)];
    sum.calls += operation.calls;
    sum.seconds += operation.seconds;
    sum.bytes += operation.bytes;
    sum.flops += operation.flops;
    sum.arithmetic = operation.arithmetic;
  }
  OperationProfile& larger = *std::max_element(std::begin(sums), std::end(sums),
                                               [](const auto& a, const auto& b) { return a.flops < b.flops; });
  larger.name = str("all linear, ", arithmetic_name(larger.arithmetic));
  return larger;
}

double rate(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : 0;
}

Json operation_json(const OperationProfile& operation, const ProfilePhase& phase, const MachineRoof& roof) {
  const RoofShare bound = roof_share(operation, roof);
  Json out;
  out["name"] = operation.name;
  out["calls"] = static_cast<double>(operation.calls) / phase.units;
  out["seconds"] = operation.seconds / phase.units;
  out["share_of_time"] = rate(operation.seconds, phase.seconds);
  out["bytes"] = operation.bytes / phase.units;
  out["flops"] = operation.flops / phase.units;
  out["bytes_per_second"] = rate(operation.bytes, operation.seconds);
  out["flops_per_second"] = rate(operation.flops, operation.seconds);
  out["arithmetic"] = arithmetic_name(operation.arithmetic);
  out["bound"] = bound.memory ? "memory" : "arithmetic";
  out["share_of_roof"] = bound.share;
  return out;
}

std::string table_row(const OperationProfile& operation, const ProfilePhase& phase, const MachineRoof& roof) {
  const RoofShare bound = roof_share(operation, roof);
  char text[200];
  std::snprintf(text, sizeof(text), "  %-34s %10.3f %6.1f %% %8.1f %9s %10s %6.1f %% of %s", operation.name.c_str(),
                1e3 * operation.seconds / phase.units, 100 * rate(operation.seconds, phase.seconds),
                static_cast<double>(operation.calls) / phase.units,
                short_number(rate(operation.bytes, operation.seconds) / 1e9).c_str(),
                short_number(rate(operation.flops, operation.seconds) / 1e9).c_str(), 100 * bound.share,
                bound.memory ? "memory" : arithmetic_name(operation.arithmetic));
  return text;
}

}  // namespace

const char* arithmetic_name(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::f32:
      return "f32";
    case Arithmetic::int8:
      return "int8";
    case Arithmetic::bf16:
      return "bf16";
  }
  return "unknown";
}

double peak_of(Arithmetic arithmetic, const MachineRoof& roof) {
  switch (arithmetic) {
    case Arithmetic::f32:
      return roof.f32_flops_per_second;
    case Arithmetic::int8:
      return roof.int8_ops_per_second;
    case Arithmetic::bf16:
      return roof.bf16_flops_per_second;
  }
  return roof.f32_flops_per_second;
}

RoofShare roof_share(const OperationProfile& operation, const MachineRoof& roof) {
  const double moving = operation.bytes / roof.read_bytes_per_second;
  const double computing = operation.flops / peak_of(operation.arithmetic, roof);
  return {moving >= computing, rate(std::max(moving, computing), operation.seconds)};
}

Json profile_json(const ProfilePhase& phase, const MachineRoof& roof) {
  Json out;
  out["unit"] = phase.unit;
  out["seconds"] = phase.seconds / phase.units;
  out["outside_seconds"] = (phase.seconds - sum_of_seconds(phase.operations)) / phase.units;
  Json list = Json::array();
  for (const OperationProfile& operation : by_time(phase.operations)) {
    list.push_back(operation_json(operation, phase, roof));
  }
  out["operations"] = std::move(list);
  const OperationProfile linear = all_linear(phase.operations);
  out["linear"] = operation_json(linear, phase, roof);
  return out;
}

void print_profile(std::string_view title, const ProfilePhase& phase, const MachineRoof& roof, Output& out) {
  out.line("");
  out.write_styled(styled(STDOUT_FILENO, Style::cyan, title));
  out.line(str(": ", phase.unit, " takes ", human_seconds(phase.seconds / phase.units)));
  out.line("  operation                                  ms    share    calls      GB/s    GFLOP/s   of its bound");
  for (const OperationProfile& operation : by_time(phase.operations)) out.line(table_row(operation, phase, roof));
  OperationProfile outside;
  outside.seconds = phase.seconds - sum_of_seconds(phase.operations);
  char text[200];
  std::snprintf(text, sizeof(text), "  %-34s %10.3f %6.1f %%", "between operations",
                1e3 * outside.seconds / phase.units, 100 * rate(outside.seconds, phase.seconds));
  out.line(text);
  out.line(table_row(all_linear(phase.operations), phase, roof));
}

}  // namespace bamba::cli
