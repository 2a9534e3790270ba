// /metrics: counters of the server and of the engine in Prometheus' text format.
#pragma once

#include <bamba/engine.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace bamba::server {

class Metrics {
 public:
  /// `route` is one of the table of routes, so that clients cannot make up new labels.
  void count_request(const std::string& route, int status, double seconds);
  /// `engine` may be null while the model is loaded.
  std::string text(const EngineMetrics* engine, int64_t connections, const std::string& version);

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;
  std::map<std::string, DurationHistogram> durations_;
  /// Counts of generated tokens at the last scrapes, for the gauge of tokens a second.
  std::deque<std::pair<std::chrono::steady_clock::time_point, uint64_t>> tokens_;
};

}  // namespace bamba::server
