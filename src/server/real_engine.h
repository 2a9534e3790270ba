// bamba::Engine as a ServedEngine.
#pragma once

#include <memory>
#include <utility>

#include "server/served_engine.h"

namespace bamba::server {

class RealEngine final : public ServedEngine {
 public:
  RealEngine(BambaForCausalLM model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options)
      : engine_(std::move(model), std::move(tokenizer), options) {}

  uint64_t submit(EngineRequest request, std::shared_ptr<EngineListener> listener) override {
    return engine_.submit(std::move(request), std::move(listener));
  }
  void cancel(uint64_t request) override { engine_.cancel(request); }
  bool drain(double seconds) override { return engine_.drain(seconds); }
  EngineMetrics metrics() const override { return engine_.metrics(); }
  int64_t max_context() const override { return engine_.options().max_context; }

 private:
  Engine engine_;
};

}  // namespace bamba::server
