#include "cli/interrupt.h"

#include <bamba/error.h>

#include <csignal>

namespace bamba::cli {
namespace {

std::atomic<bool> flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler may only touch lock-free atomics");

void on_signal(int signal_number) {
  if (flag.exchange(true)) {
    // The second time: die of the signal, as if it had never been caught.
    std::signal(signal_number, SIG_DFL);
    std::raise(signal_number);
  }
}

}  // namespace

std::atomic<bool>& interrupt_flag() {
  return flag;
}

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_signal;  // no SA_RESTART: a read that waits for input returns when Ctrl-C is pressed
  sigemptyset(&action.sa_mask);
  // A program started in the background with SIGINT ignored (nohup, a shell's &) keeps it ignored.
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction old = {};
    sigaction(number, nullptr, &old);
    if (old.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void throw_if_interrupted() {
  if (interrupted()) throw Error(ErrorCode::cancelled, "interrupted");
}

}  // namespace bamba::cli
