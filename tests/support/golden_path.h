// Where the goldens lie: tests/golden.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace bamba::test {

inline std::filesystem::path golden_path(const std::string& folder) {
  return std::filesystem::path(BAMBA_TEST_DATA) / folder;
}

/// The folders that hold a tiny model, inputs and what Transformers answered.
inline const std::vector<std::string>& golden_models() {
  static const std::vector<std::string> names = {"a_base",         "b_groups",        "c_tied_mha",   "d_mqa",
                                                 "e_no_attention", "f_all_attention", "g_conv3_gelu", "h_stress",
                                                 "i_dt_limit",     "j_real_dims"};
  return names;
}

}  // namespace bamba::test
