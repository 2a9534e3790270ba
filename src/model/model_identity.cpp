#include "model/model_identity.h"

#include <algorithm>
#include <vector>

#include "base/fnv.h"
#include "base/hex.h"
#include "base/str.h"
#include "model/host_snapshot.h"

namespace bamba {
namespace {

/// Of each matrix, spread over its height.
constexpr int64_t kSampledRows = 4;

uint64_t sample_weights(BambaModel::Impl& model) {
  Fnv1a hash;
  std::vector<float> row;
  for (const auto& [name, weight] : model.weights.matrices) {
    hash.add(name);
    hash.add(weight_format_name(weight->format()));
    row.resize(static_cast<size_t>(weight->in_features()));
    const int64_t rows = weight->out_features();
    for (int64_t i = 0; i < std::min(kSampledRows, rows); ++i) {
      const int64_t at = i * rows / std::min(kSampledRows, rows);
      model.device->unpack_linear(*weight, at, 1, row.data());
      hash.add(row.data(), row.size() * sizeof(float));
    }
  }
  return hash.value();
}

}  // namespace

std::string model_identity(BambaModel::Impl& model) {
  const std::lock_guard lock(model.mutex);
  const bool cpu = model.device->buffers_on_host();
  const auto activations = model.options.activations;
  std::string text =
      str("bamba ", BAMBA_VERSION, "; state ", state_layout(*model.context), "; weights ", hex(sample_weights(model)),
          "; activations ", activations ? activation_format_name(*activations) : "default", "; scan ",
          model.scan == ScanForm::recurrent ? "recurrent" : "chunked");
  // What a kernel adds up in which order.
  if (cpu) text += str("; ", backend::cpu_target_name());
  if (!cpu) text += model.options.bit_exact ? "; bit exact" : str("; passes of ", model.pass_tokens);
  return text;
}

}  // namespace bamba
