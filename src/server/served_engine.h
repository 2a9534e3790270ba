// The engine as the server sees it, so that routes can be tested with one that does what a test wants.
#pragma once

#include <bamba/engine.h>

#include <cstdint>
#include <memory>

namespace bamba::server {

class ServedEngine {
 public:
  ServedEngine() = default;
  virtual ~ServedEngine() = default;
  ServedEngine(const ServedEngine&) = delete;
  ServedEngine& operator=(const ServedEngine&) = delete;

  virtual uint64_t submit(EngineRequest request, std::shared_ptr<EngineListener> listener) = 0;
  virtual void cancel(uint64_t request) = 0;
  virtual bool drain(double seconds) = 0;
  virtual EngineMetrics metrics() const = 0;
  virtual int64_t max_context() const = 0;  ///< tokens of a prompt with its reply
};

}  // namespace bamba::server
