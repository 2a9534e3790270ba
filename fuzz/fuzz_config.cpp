// Any text as a config.json: either an Error(invalid_config), or a config that is equal after writing and reading; and
// what it says of fp8 scales is an Error(invalid_config) or blocks that cut any matrix.
#include <bamba/config.h>
#include <bamba/error.h>
#include <bamba/progress.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "model/fp8_config.h"

using namespace bamba;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_warning_handler({});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  BambaConfig config;
  try {
    config = BambaConfig::from_json({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_config) std::abort();
    return 0;
  }
  if (config.parameter_count() <= 0 || config.parameter_count() >= int64_t{1} << 55) std::abort();
  if (static_cast<int64_t>(config.layers_block_type().size()) != config.num_hidden_layers) std::abort();
  if (BambaConfig::from_json(config.to_json()) != config) std::abort();
  try {
    const Fp8Config scales = read_fp8_config(config, "input");
    if (scales.block && fp8_scales_shape(*scales.block, 300, 200)[0] < 1) std::abort();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_config) std::abort();
  }
  return 0;
}
