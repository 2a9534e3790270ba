#include "model/format_table.h"

#include <array>
#include <utility>

namespace bamba {
namespace {

/// Ends of matrix names, and their class.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kClasses = {{
    {"embed_tokens.weight", "embedding"},
    {"lm_head.weight", "lm_head"},
    {"mamba.in_proj.weight", "in_proj"},
    {"mamba.out_proj.weight", "out_proj"},
    {"self_attn.q_proj.weight", "attention"},
    {"self_attn.k_proj.weight", "attention"},
    {"self_attn.v_proj.weight", "attention"},
    {"self_attn.o_proj.weight", "attention"},
    {"feed_forward.gate_proj.weight", "gate_up"},
    {"feed_forward.up_proj.weight", "gate_up"},
    {"feed_forward.down_proj.weight", "down"},
}};

}  // namespace

std::string_view tensor_class(const TensorSpec& spec) {
  for (const auto& [end, name] : kClasses) {
    if (spec.name.ends_with(end)) return name;
  }
  return {};
}

const std::vector<std::string>& tensor_classes() {
  static const std::vector<std::string> names = {"embedding", "lm_head", "in_proj", "out_proj",
                                                 "attention", "gate_up", "down"};
  return names;
}

WeightFormat tensor_format(const TensorSpec& spec, WeightFormat wanted) {
  // Rows of the embedding are looked up, not multiplied with: finer ones cost memory, but no time. Nothing that is
  // calibrated can make up for its errors either, as every layer starts from them.
  if (wanted == WeightFormat::q4 && spec.role == TensorRole::embedding) return WeightFormat::q8;
  // As in the published fp8 checkpoints, whose fp8 tensors are the layers' linear ones.
  if (wanted == WeightFormat::fp8 && (spec.role == TensorRole::embedding || spec.name == kHeadName)) {
    return WeightFormat::bf16;
  }
  return wanted;
}

}  // namespace bamba
