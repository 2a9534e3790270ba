// The demo model behind the whole server.
#pragma once

#include <bamba/model.h>

#include "server/api_fixture.h"
#include "server/real_engine.h"

namespace bamba::test {

inline const BambaForCausalLM& demo_model() {
  static const auto model = BambaForCausalLM::from_pretrained(BAMBA_DEMO_MODEL);
  return model;
}

/// One server for all tests. Long-lived: the cache carries over from test to test, and nothing may depend
/// on it.
inline ApiServer& demo() {
  static EngineOptions options = [] {
    EngineOptions out;
    out.max_sequences = 8;
    out.running_bytes = size_t{256} << 20;
    out.cache_bytes = size_t{64} << 20;
    return out;
  }();
  static ApiServer server({}, true, {}, std::make_shared<server::RealEngine>(demo_model(), demo_tokenizer(), options));
  return server;
}

}  // namespace bamba::test
