#include "cli/batch_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/json_out.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{16} << 30;
constexpr int kVersion = 1;

[[noreturn]] void fail_io(const std::filesystem::path& path, const char* what) {
  fail(ErrorCode::io, path.string(), ": cannot ", what, ": ", std::strerror(errno));
}

bool is_header(const Json& line) {
  return line.is_object() && line.value("bamba_batch", 0) == kVersion && line.contains("inputs") &&
         line["inputs"].is_string() && line.contains("prompts") && line["prompts"].is_number_unsigned() &&
         line.contains("seed") && line["seed"].is_number_unsigned();
}

}  // namespace

BatchJournal::BatchJournal(std::filesystem::path path, const std::string& inputs, size_t prompts, uint64_t seed)
    : path_(std::move(path)), seed_(seed), outputs_(prompts) {
  open();
  try {
    read(inputs);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

BatchJournal::~BatchJournal() {
  ::close(fd_);
}

void BatchJournal::open() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_io(path_, "open it");
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd_);
    fail(ErrorCode::io, path_.string(), ": another run is writing to it");
  }
}

void BatchJournal::read(const std::string& inputs) {
  const std::string text = read_file(path_, kMaxBytes);
  size_t good = 0;  // bytes of whole lines
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // the run ended in the middle of it
    const std::string where = str(path_.string(), ", line ", number);
    const Json line = parse_json(std::string_view(text).substr(begin, end - begin), where, ErrorCode::invalid_file);
    if (begin == 0) {
      if (!is_header(line)) fail(ErrorCode::invalid_file, where, ": not the beginning of an interrupted batch");
      if (line["inputs"] != inputs || line["prompts"] != outputs_.size()) {
        fail(ErrorCode::invalid_argument, path_.string(),
             ": holds what a run with another model, other prompts or other flags has answered; finish that run, or "
             "remove the file");
      }
      seed_ = line["seed"].get<uint64_t>();
    } else {
      if (!line.is_object() || !line.contains("index") || !line["index"].is_number_unsigned() ||
          line["index"].get<uint64_t>() >= outputs_.size() || !line.contains("output") || !line["output"].is_string()) {
        fail(ErrorCode::invalid_file, where, ": not the answer to a prompt of this batch");
      }
      outputs_[line["index"].get<size_t>()] = line["output"].get<std::string>();
    }
    good = begin = end + 1;
  }
  if (::ftruncate(fd_, static_cast<off_t>(good)) != 0) fail_io(path_, "shorten it");
  if (good > 0) return;
  Json header;
  header["bamba_batch"] = kVersion;
  header["inputs"] = inputs;
  header["prompts"] = outputs_.size();
  header["seed"] = seed_;
  append(json_line(header));
}

void BatchJournal::append(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(fd_, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) fail_io(path_, "write to it");
    if (written > 0) done += static_cast<size_t>(written);
  }
}

void BatchJournal::add(size_t index, std::string output) {
  Json line;
  line["index"] = index;
  line["output"] = output;
  append(json_line(line));
  outputs_[index] = std::move(output);
}

void BatchJournal::remove() {
  std::error_code ignored;  // what is left behind does no harm: the next run finds all of it done
  std::filesystem::remove(path_, ignored);
}

}  // namespace bamba::cli
