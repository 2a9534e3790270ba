// Progress of long work, reported to whoever asked for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace bamba {

/// Called from one thread at a time: `done` of `total` units (bytes, tokens, ...) of the work named `what`.
using ProgressCallback = std::function<void(std::string_view what, uint64_t done, uint64_t total)>;

/// Receives one-line warnings (a config key that disagrees with the model's rule, a context past its limit, ...).
/// The default handler writes "bamba: warning: ..." to stderr. Passing an empty function silences them.
/// One handler serves the whole process; it is called from one thread at a time and must not set another.
using WarningHandler = std::function<void(std::string_view message)>;
void set_warning_handler(WarningHandler handler);

}  // namespace bamba
