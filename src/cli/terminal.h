// What the program shows to people: colour, numbers, a progress bar. All of it goes to stderr and only to a terminal;
// results go to stdout (output.h).
#pragma once

#include <bamba/progress.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace bamba::cli {

enum class Style { bold, dim, red, yellow, green, cyan };

/// stdout or stderr, as a file descriptor (1 or 2), is a terminal that may be coloured: NO_COLOR is unset or empty and
/// TERM is not "dumb".
bool is_terminal(int fd);
bool has_colour(int fd);
std::string styled(int fd, Style style, std::string_view text);

/// "9,780,235,392", "19.6 GB" (powers of 1000), "4.2 s", "312.5" (four significant digits at most).
std::string with_thousands(int64_t value);
std::string human_bytes(double bytes);
std::string human_seconds(double seconds);
std::string short_number(double value);

/// Control characters of a model's text (escape sequences above all) made harmless for a terminal: ESC becomes "^[".
/// Line feeds and tabs pass.
std::string printable(std::string_view text);

/// Writes "bamba: TEXT" to stderr: notes (dim), warnings and errors (label in colour).
void print_note(std::string_view text);
void print_warning(std::string_view text);
void print_error(std::string_view text);

/// One line on stderr that is drawn at most ten times a second; nothing at all unless stderr is a terminal. Work that
/// ends within the first 0.3 s never shows it.
class ProgressBar {
 public:
  enum class Unit { bytes, count };
  explicit ProgressBar(Unit unit) : unit_(unit) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::string_view what, uint64_t done, uint64_t total);
  void clear();

  /// For the library: draws, and throws Error(cancelled) after Ctrl-C. Refers to this object.
  ProgressCallback callback();

 private:
  using Clock = std::chrono::steady_clock;
  Unit unit_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_{};
  bool visible_ = false;
};

}  // namespace bamba::cli
