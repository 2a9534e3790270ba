#include "server/metrics.h"

#include <sstream>
#include <string_view>

namespace bamba::server {
namespace {

// The gauge of tokens a second looks back so far.
constexpr auto kWindow = std::chrono::seconds(30);

class Writer {
 public:
  Writer() { out_.precision(12); }

  void head(std::string_view name, std::string_view type, std::string_view help) {
    out_ << "# HELP bamba_" << name << ' ' << help << "\n# TYPE bamba_" << name << ' ' << type << '\n';
  }
  template <typename Value>
  void sample(std::string_view name, const std::string& labels, Value value) {
    out_ << "bamba_" << name;
    if (!labels.empty()) out_ << '{' << labels << '}';
    out_ << ' ' << value << '\n';
  }
  template <typename Value>
  void counter(std::string_view name, std::string_view help, Value value) {
    head(name, "counter", help);
    sample(name, {}, value);
  }
  template <typename Value>
  void gauge(std::string_view name, std::string_view help, Value value) {
    head(name, "gauge", help);
    sample(name, {}, value);
  }
  void buckets(const std::string& name, const std::string& labels, const DurationHistogram& histogram) {
    const std::string comma = labels.empty() ? "" : labels + ',';
    for (size_t i = 0; i < DurationHistogram::bounds.size(); ++i) {
      std::ostringstream bound;
      bound << DurationHistogram::bounds[i];
      sample(name + "_bucket", comma + "le=\"" + bound.str() + '"', histogram.counts[i]);
    }
    sample(name + "_bucket", comma + "le=\"+Inf\"", histogram.count);
    sample(name + "_sum", labels, histogram.sum);
    sample(name + "_count", labels, histogram.count);
  }
  void histogram(const std::string& name, std::string_view help, const DurationHistogram& values) {
    head(name, "histogram", help);
    buckets(name, {}, values);
  }
  std::string text() const { return out_.str(); }

 private:
  std::ostringstream out_;
};

void write_engine(Writer& out, const EngineMetrics& engine) {
  out.gauge("queue_requests", "Requests that wait.", engine.waiting);
  out.gauge("running_requests", "Requests that read or write.", engine.running);
  out.gauge("running_sequences", "Sequences of the running requests.", engine.sequences);
  out.gauge("preempted_requests", "Requests that made way and wait to go on.", engine.preempted);
  out.head("engine_requests_total", "counter", "Requests by how they ended.");
  out.sample("engine_requests_total", "outcome=\"finished\"", engine.requests_finished);
  out.sample("engine_requests_total", "outcome=\"cancelled\"", engine.requests_cancelled);
  out.sample("engine_requests_total", "outcome=\"failed\"", engine.requests_failed);
  out.sample("engine_requests_total", "outcome=\"refused\"", engine.requests_refused);
  out.counter("preemptions_total", "Times that a request made way for others.", engine.preemptions);
  out.counter("recomputations_total", "Preempted requests that had to be read again.", engine.recomputations);
  out.counter("steps_total", "Steps of the engine.", engine.steps);
  out.counter("step_seconds_total", "Time in steps.", engine.step_seconds);
  out.counter("model_seconds_total", "Time inside the model's forward.", engine.model_seconds);
  out.gauge("batch_tokens", "Tokens of the last step.", engine.last_batch_tokens);
  out.gauge("batch_sequences", "Sequences of the last step.", engine.last_batch_sequences);
  out.counter("prompt_tokens_total", "Tokens of prompts begun.", engine.prompt_tokens);
  out.counter("cached_prompt_tokens_total", "Tokens of prompts that the cache held.", engine.cached_tokens);
  out.counter("prefill_tokens_total", "Tokens of prompts run through the model.", engine.prefill_tokens);
  out.counter("generated_tokens_total", "Tokens chosen.", engine.generated_tokens);
  out.head("state_bytes", "gauge", "Memory of sequence states by what it is for.");
  out.sample("state_bytes", "use=\"running\"", engine.running_bytes);
  out.sample("state_bytes", "use=\"preempted\"", engine.host_bytes);
  out.sample("state_bytes", "use=\"cache\"", engine.cache_bytes);
  out.sample("state_bytes", "use=\"disk\"", engine.disk_bytes);
  out.head("cache_snapshots", "gauge", "Snapshots kept.");
  out.sample("cache_snapshots", "place=\"memory\"", engine.cache_snapshots);
  out.sample("cache_snapshots", "place=\"disk\"", engine.disk_snapshots);
  out.counter("cache_hits_total", "Prompts that began at a snapshot.", engine.cache_hits);
  out.counter("cache_misses_total", "Prompts that were read from their first token.", engine.cache_misses);
  out.counter("cache_evictions_total", "Snapshots dropped for others.", engine.cache_evictions);
  out.counter("cache_disk_hits_total", "Hits that were read from disk.", engine.disk_hits);
  out.counter("cache_disk_rejected_total", "Files of snapshots found unusable.", engine.disk_rejected);
  out.histogram("queue_seconds", "Time in the queue.", engine.queue_time);
  out.histogram("time_to_first_token_seconds", "From a request's arrival to its first token.",
                engine.time_to_first_token);
  out.histogram("inter_token_seconds", "Between two tokens of a sequence.", engine.inter_token);
}

}  // namespace

void Metrics::count_request(const std::string& route, int status, double seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
  durations_[route].add(seconds);
}

std::string Metrics::text(const EngineMetrics* engine, int64_t connections, const std::string& version) {
  const std::lock_guard lock(mutex_);
  Writer out;
  out.head("build_info", "gauge", "The version that runs.");
  out.sample("build_info", "version=\"" + version + '"', 1);
  out.gauge("ready", "Whether the model is loaded.", engine != nullptr ? 1 : 0);
  out.gauge("http_connections", "Connections that are open.", connections);
  out.head("http_requests_total", "counter", "Requests answered; status 499: the client left first.");
  for (const auto& [key, count] : requests_) {
    out.sample("http_requests_total", "route=\"" + key.first + "\",status=\"" + std::to_string(key.second) + '"',
               count);
  }
  out.head("http_request_seconds", "histogram", "From a request's header to the end of its answer.");
  for (const auto& [route, histogram] : durations_) {
    out.buckets("http_request_seconds", "route=\"" + route + '"', histogram);
  }
  if (engine == nullptr) return out.text();
  const auto now = std::chrono::steady_clock::now();
  while (tokens_.size() > 1 && tokens_[1].first + kWindow < now) tokens_.pop_front();
  double rate = 0;
  if (!tokens_.empty()) {
    const double seconds = std::chrono::duration<double>(now - tokens_.front().first).count();
    if (seconds > 0) rate = static_cast<double>(engine->generated_tokens - tokens_.front().second) / seconds;
  }
  // Scrapes that follow each other faster must not fill the queue.
  if (tokens_.empty() || tokens_.back().first + std::chrono::milliseconds(500) < now) {
    tokens_.emplace_back(now, engine->generated_tokens);
  }
  out.gauge("tokens_per_second", "Tokens chosen a second, over the scrapes of the last 30 seconds.", rate);
  write_engine(out, *engine);
  return out.text();
}

}  // namespace bamba::server
