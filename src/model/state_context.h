// What all sequence states of one model share: the backend, the shapes, and the model's identity.
#pragma once

#include <bamba/config.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace bamba {

struct StateContext {
  StateContext(std::shared_ptr<backend::Backend> backend_, const BambaConfig& config_, KvFormat kv,
               uint64_t fingerprint_);

  std::shared_ptr<backend::Backend> backend;
  BambaConfig config;
  /// Tells a saved state of this model from another's: a hash of the config and of the small weights.
  uint64_t fingerprint;

  backend::ConvShape conv;
  backend::ScanShape scan;
  backend::AttentionShape attention;
  /// Of layer i among the layers of its own kind.
  std::vector<size_t> index_in_kind;
  size_t mamba_layers = 0;
  size_t attention_layers = 0;

  size_t window_bytes() const { return static_cast<size_t>(conv.width * conv.channels) * sizeof(float); }
  size_t ssm_bytes() const { return static_cast<size_t>(scan.n_heads * scan.d_state * scan.d_head) * sizeof(float); }
  size_t page_bytes() const { return backend->kv_page_bytes(attention); }
};

}  // namespace bamba
