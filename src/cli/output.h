// Results: to stdout, or to a file that appears under its name only when complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"

namespace bamba::cli {

/// The reader of our pipe is gone (bamba generate | head): the program ends quietly, with exit code 0.
struct BrokenPipe {};

/// Text results. Throws BrokenPipe, or Error(io) with the reason.
class Output {
 public:
  /// Empty path or "-": stdout.
  explicit Output(const std::filesystem::path& path = {});
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view text);
  void line(std::string_view text);
  /// Text of our own that may hold colours; write() makes escape sequences harmless on a terminal.
  void write_styled(std::string_view text);
  /// What was written so far reaches the reader now (stdout only).
  void flush();
  /// Everything is out: flushes stdout, or gives the file its name.
  void commit();

  bool to_terminal() const { return terminal_; }

 private:
  std::unique_ptr<AtomicFile> file_;
  std::string buffer_;
  bool terminal_ = false;
};

/// All of stdin; says on a terminal that it is waited for. Throws Error(io), Error(invalid_argument) past max_bytes.
std::string read_stdin(std::string_view what, uint64_t max_bytes);

/// One line of stdin without its line feed.
enum class LineResult { line, end, interrupted };
LineResult read_line(std::string& line);

}  // namespace bamba::cli
