#include "server/request_log.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <utility>

#include "base/json.h"
#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {
namespace {

/// "2025-01-31T12:00:00.123Z"
std::string now_text() {
  const auto now = std::chrono::system_clock::now();
  const auto whole = std::chrono::floor<std::chrono::seconds>(now);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now - whole).count();
  const std::time_t time = std::chrono::system_clock::to_time_t(whole);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char date[32];
  char out[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(out, sizeof out, "%s.%03dZ", date, static_cast<int>(milliseconds));
  return out;
}

double milliseconds(double seconds) {
  return std::round(seconds * 1e4) / 10;
}

}  // namespace

RequestLog::RequestLog(LogFormat format, std::function<void(const std::string&)> sink)
    : format_(format), sink_(std::move(sink)) {}

void RequestLog::request(const RequestRecord& record) {
  if (format_ == LogFormat::none) return;
  const bool completion = record.prompt_tokens >= 0;
  if (format_ == LogFormat::text) {
    std::string line = str(now_text(), ' ', record.status, ' ', record.method, ' ', record.route, ' ',
                           milliseconds(record.seconds), " ms");
    if (completion) {
      line += str(", ", record.prompt_tokens, " tokens read (", record.cached_tokens, " cached), ",
                  record.completion_tokens, " written, first after ", milliseconds(record.time_to_first_token), " ms");
    }
    if (record.outcome != "ok") line += ", " + record.outcome;
    return write(line + " [" + printable(record.id) + "]");
  }
  Json line;
  line["time"] = now_text();
  line["event"] = "request";
  line["id"] = record.id;
  line["method"] = record.method;
  line["route"] = record.route;
  line["status"] = record.status;
  line["outcome"] = record.outcome;
  line["ms"] = milliseconds(record.seconds);
  if (completion) {
    line["prompt_tokens"] = record.prompt_tokens;
    line["cached_tokens"] = record.cached_tokens;
    line["completion_tokens"] = record.completion_tokens;
    line["ttft_ms"] = milliseconds(record.time_to_first_token);
  }
  write(json_text(line));
}

void RequestLog::event(std::string_view name, std::string_view detail) {
  if (format_ == LogFormat::none) return;
  if (format_ == LogFormat::text) return write(str(now_text(), ' ', name, ' ', printable(detail, 1000)));
  Json line;
  line["time"] = now_text();
  line["event"] = name;
  line["detail"] = detail;
  write(json_text(line));
}

void RequestLog::write(const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (sink_) return sink_(line);
  const std::string whole = line + '\n';
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

}  // namespace bamba::server
