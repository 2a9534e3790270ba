#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "cli/interrupt.h"

namespace bamba::cli {
namespace {

std::string_view code(Style style) {
  switch (style) {
    case Style::bold:
      return "\033[1m";
    case Style::dim:
      return "\033[2m";
    case Style::red:
      return "\033[31m";
    case Style::yellow:
      return "\033[33m";
    case Style::green:
      return "\033[32m";
    case Style::cyan:
      return "\033[36m";
  }
  return "";
}

std::string format(const char* pattern, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), pattern, value);
  return text.data();
}

void print_line(Style style, std::string_view label, std::string_view text) {
  std::string line = "bamba: ";
  if (!label.empty()) line.append(styled(STDERR_FILENO, style, label)).append(": ");
  line += text;
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

bool is_terminal(int fd) {
  return isatty(fd) == 1;
}

bool has_colour(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  if (no_colour != nullptr && no_colour[0] != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return is_terminal(fd);
}

std::string styled(int fd, Style style, std::string_view text) {
  if (!has_colour(fd)) return std::string(text);
  std::string out(code(style));
  out += text;
  out += "\033[0m";
  return out;
}

std::string with_thousands(int64_t value) {
  const std::string digits = std::to_string(value);
  const size_t first = value < 0 ? 1 : 0;
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return format("%g", value);
  const double size = std::abs(value);
  if (size >= 1000) return with_thousands(std::llround(value));
  if (size >= 100) return format("%.1f", value);
  if (size >= 10) return format("%.2f", value);
  return format("%.3f", value);
}

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 5> units = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1000;
    ++unit;
  }
  const char* pattern = unit == 0 || bytes >= 100 ? "%.0f " : bytes >= 10 ? "%.1f " : "%.2f ";
  return format(pattern, bytes) + units[unit];
}

std::string human_seconds(double seconds) {
  if (seconds < 1e-3) return format("%.0f us", seconds * 1e6);
  if (seconds < 1) return format("%.1f ms", seconds * 1e3);
  if (seconds < 100) return format("%.1f s", seconds);
  if (seconds < 6000) return format("%.0f min", seconds / 60);
  return format("%.1f h", seconds / 3600);
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      out += '^';
      out += static_cast<char>(byte ^ 0x40);
    } else {
      out += c;
    }
  }
  return out;
}

void print_note(std::string_view text) {
  print_line(Style::dim, "", text);
}
void print_warning(std::string_view text) {
  print_line(Style::yellow, "warning", text);
}
void print_error(std::string_view text) {
  print_line(Style::red, "error", text);
}

void ProgressBar::update(std::string_view what, uint64_t done, uint64_t total) {
  if (total == 0 || !is_terminal(STDERR_FILENO)) return;
  const auto now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  if (elapsed < 0.3 || (now - drawn_ < std::chrono::milliseconds(100) && done < total)) return;
  drawn_ = now;

  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const double rate = static_cast<double>(done) / elapsed;
  std::string tail = format(" %3.0f%%", share * 100);
  if (unit_ == Unit::bytes) {
    tail += "  " + human_bytes(static_cast<double>(done)) + " of " + human_bytes(static_cast<double>(total)) + "  " +
            human_bytes(rate) + "/s";
  } else {
    tail += "  " + with_thousands(static_cast<int64_t>(done)) + " of " + with_thousands(static_cast<int64_t>(total)) +
            "  " + short_number(rate) + "/s";
  }
  if (done > 0 && done < total) {
    tail += "  " + human_seconds(static_cast<double>(total - done) / rate) + " left";
  }
  std::string line(what);
  line += ' ';
  const size_t width = terminal_width();
  if (width > line.size() + tail.size() + 10) {
    const size_t cells = std::min<size_t>(30, width - line.size() - tail.size() - 4);
    const auto full = static_cast<size_t>(share * static_cast<double>(cells));
    line += '[';
    line += styled(STDERR_FILENO, Style::green, std::string(full, '='));
    line.append(cells - full, ' ');
    line += ']';
  }
  line += tail;
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  visible_ = true;
}

void ProgressBar::clear() {
  if (visible_) std::fputs("\r\033[K", stderr);
  visible_ = false;
}

ProgressCallback ProgressBar::callback() {
  return [this](std::string_view what, uint64_t done, uint64_t total) {
    throw_if_interrupted();
    update(what, done, total);
    if (done >= total) clear();
  };
}

}  // namespace bamba::cli
