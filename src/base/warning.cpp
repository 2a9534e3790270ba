#include "base/warning.h"

#include <bamba/progress.h>

#include <cstdio>
#include <mutex>
#include <utility>

namespace bamba {
namespace {

std::mutex handler_mutex;
WarningHandler& handler() {
  static WarningHandler current = [](std::string_view message) {
    std::fprintf(stderr, "bamba: warning: %.*s\n", static_cast<int>(message.size()), message.data());
  };
  return current;
}

}  // namespace

void set_warning_handler(WarningHandler new_handler) {
  const std::lock_guard lock(handler_mutex);
  handler() = std::move(new_handler);
}

void warn_message(std::string_view message) {
  const std::lock_guard lock(handler_mutex);
  if (handler()) handler()(message);
}

}  // namespace bamba
