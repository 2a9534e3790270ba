// Ctrl-C: the first one asks the work to stop at the next step, the second ends the program at once.
#pragma once

#include <atomic>

namespace bamba::cli {

/// Installs the handler for SIGINT and SIGTERM and ignores SIGPIPE (a closed pipe is seen where output is written).
void install_interrupt_handler();

/// Set by the handler; chat clears it when a reply was stopped.
std::atomic<bool>& interrupt_flag();
inline bool interrupted() {
  return interrupt_flag().load(std::memory_order_relaxed);
}

/// Throws Error(cancelled) if Ctrl-C was pressed: for long work that has no result to keep.
void throw_if_interrupted();

}  // namespace bamba::cli
