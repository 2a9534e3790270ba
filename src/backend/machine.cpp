#include <bamba/machine.h>

#include "backend/backend.h"

namespace bamba {

MachineRoof measure_machine(int threads) {
  const auto cpu = backend::make_cpu_backend(threads);
  const backend::MachineRoof roof = cpu->measure_roof();
  return {cpu->threads(), roof.read_bytes_per_second, roof.f32_flops_per_second, roof.int8_ops_per_second,
          roof.bf16_flops_per_second};
}

std::string cpu_target_name() {
  return std::string(backend::cpu_target_name());
}

}  // namespace bamba
