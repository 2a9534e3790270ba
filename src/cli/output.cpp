#include "cli/output.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/str.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 16;

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EPIPE) {
      throw BrokenPipe{};
    } else if (errno != EINTR) {
      fail(ErrorCode::io, "cannot write to stdout: ", std::strerror(errno));
    }
  }
}

}  // namespace

Output::Output(const std::filesystem::path& path) {
  if (!path.empty() && path != "-") {
    file_ = std::make_unique<AtomicFile>(path);
  } else {
    terminal_ = is_terminal(STDOUT_FILENO);
  }
}

Output::~Output() {
  // Text that an error overtook is worth having; there is nobody left to tell if it cannot be written.
  try {
    flush();
  } catch (...) {
    buffer_.clear();
  }
}

void Output::write(std::string_view text) {
  if (terminal_) {
    write_styled(printable(text));
  } else {
    write_styled(text);
  }
}

void Output::write_styled(std::string_view text) {
  if (file_) {
    file_->write(text);
    return;
  }
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) flush();
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
}

void Output::flush() {
  if (file_ || buffer_.empty()) return;
  const std::string pending = std::move(buffer_);
  buffer_.clear();
  write_stdout(pending);
}

void Output::commit() {
  if (file_) {
    file_->commit();
  } else {
    flush();
  }
}

std::string read_stdin(std::string_view what, uint64_t max_bytes) {
  if (is_terminal(STDIN_FILENO)) print_note(str("reading ", what, " from the terminal; end it with Ctrl-D"));
  std::string text;
  std::array<char, 65536> block{};
  for (;;) {
    throw_if_interrupted();  // also when Ctrl-C came between two reads, or before the first
    const ssize_t got = ::read(STDIN_FILENO, block.data(), block.size());
    if (got == 0) {
      throw_if_interrupted();
      return text;
    }
    if (got < 0) {
      if (errno != EINTR) fail(ErrorCode::io, "cannot read stdin: ", std::strerror(errno));
      continue;
    }
    text.append(block.data(), static_cast<size_t>(got));
    if (text.size() > max_bytes) {
      fail(ErrorCode::invalid_argument, "stdin holds more than ", human_bytes(static_cast<double>(max_bytes)));
    }
  }
}

LineResult read_line(std::string& line) {
  static std::string pending;  // bytes read past the last line
  line.clear();
  for (;;) {
    if (const size_t end = pending.find('\n'); end != std::string::npos) {
      line = pending.substr(0, end);
      pending.erase(0, end + 1);
      return LineResult::line;
    }
    std::array<char, 4096> block{};
    const ssize_t got = interrupted() ? 0 : ::read(STDIN_FILENO, block.data(), block.size());
    if (interrupted()) {
      pending.clear();
      return LineResult::interrupted;
    }
    if (got > 0) {
      pending.append(block.data(), static_cast<size_t>(got));
    } else if (got == 0) {
      line.swap(pending);
      pending.clear();
      return line.empty() ? LineResult::end : LineResult::line;
    } else if (errno != EINTR) {
      fail(ErrorCode::io, "cannot read stdin: ", std::strerror(errno));
    }
  }
}

}  // namespace bamba::cli
