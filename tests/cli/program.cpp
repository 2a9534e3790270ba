#include "cli/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <sstream>
#include <stdexcept>

#include "support/golden_path.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

namespace fs = std::filesystem;

/// A running program with pipes to its three streams.
class Child {
 public:
  Child(const std::vector<std::string>& args, const ProgramInput& input) {
    std::array<int, 2> in{}, out{}, err{};
    if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0 || pipe2(err.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("pipe");
    }
    std::vector<std::string> words = {BAMBA_PROGRAM};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int file = input.stdout_path.empty() ? -1 : ::open(input.stdout_path.c_str(), O_WRONLY | O_CLOEXEC);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(file >= 0 ? file : out[1], 1);
      dup2(err[1], 2);
      if (input.address_space > 0) {
        const rlimit limit{input.address_space, input.address_space};
        setrlimit(RLIMIT_AS, &limit);
      }
      execv(argv[0], argv.data());
      _exit(127);
    }
    if (file >= 0) ::close(file);
    ::close(in[0]);
    ::close(out[1]);
    ::close(err[1]);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    for (const int fd : {in_, out_, err_}) {
      if (fd >= 0) ::close(fd);
    }
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  void signal(int number) const { kill(pid_, number); }
  void close_out() {
    ::close(out_);
    out_ = -1;
  }

  /// Moves data both ways until the program has closed its output, or `enough` bytes of it have come.
  void exchange(std::string_view input, ProgramResult& result, size_t enough) {
    std::signal(SIGPIPE, SIG_IGN);
    while ((out_ >= 0 || err_ >= 0) && result.out.size() < enough) {
      if (input.empty() && in_ >= 0) close_in();
      std::array<pollfd, 3> fds = {{{out_, POLLIN, 0}, {err_, POLLIN, 0}, {in_, POLLOUT, 0}}};
      poll(fds.data(), fds.size(), -1);
      if (fds[0].revents != 0) drain(out_, result.out);
      if (fds[1].revents != 0) drain(err_, result.err);
      if (in_ >= 0 && fds[2].revents != 0) {
        const ssize_t written = ::write(in_, input.data(), std::min<size_t>(input.size(), 4096));
        if (written < 0) {
          close_in();
        } else {
          input.remove_prefix(static_cast<size_t>(written));
        }
      }
    }
  }

  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  void close_in() {
    ::close(in_);
    in_ = -1;
  }
  static void drain(int& fd, std::string& text) {
    std::array<char, 4096> block{};
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got > 0) {
      text.append(block.data(), static_cast<size_t>(got));
    } else {
      ::close(fd);
      fd = -1;
    }
  }

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
};

std::string make_model(const std::string& folder, bool tokenizer) {
  const ProgramResult made = run_bamba({"init", "-o", folder, "--shape", "tiny", "--seed", "3", "--force"});
  if (made.exit_code != 0) throw std::runtime_error(made.err);
  if (!tokenizer) return folder;
  // The tiny shape has 256 ids; the golden tokenizer needs more.
  nlohmann::json config = nlohmann::json::parse(read_text(folder + "/config.json"));
  config["vocab_size"] = 4096;
  write_text(folder + "/wide.json", config.dump());
  const ProgramResult wide =
      run_bamba({"init", "-o", folder, "--config", folder + "/wide.json", "--seed", "3", "--force"});
  if (wide.exit_code != 0) throw std::runtime_error(wide.err);
  for (const auto& file : fs::directory_iterator(golden_path("tokenizer-llama3"))) {
    if (file.path().filename() == "goldens.json") continue;
    fs::copy_file(file.path(), fs::path(folder) / file.path().filename());
  }
  return folder;
}

}  // namespace

nlohmann::json ProgramResult::json(size_t index) const {
  return nlohmann::json::parse(lines().at(index));
}

std::vector<std::string> ProgramResult::lines() const {
  std::vector<std::string> out_lines;
  std::istringstream stream(out);
  for (std::string line; std::getline(stream, line);) out_lines.push_back(line);
  return out_lines;
}

ProgramResult run_bamba(const std::vector<std::string>& args, const ProgramInput& input) {
  ProgramResult result;
  Child child(args, input);
  child.exchange(input.stdin_text, result, SIZE_MAX);
  result.exit_code = child.wait();
  return result;
}

ProgramResult stop_bamba(const std::vector<std::string>& args, size_t bytes, int signal_number) {
  ProgramResult result;
  Child child(args, {});
  child.exchange("", result, bytes);
  if (signal_number != 0) {
    child.signal(signal_number);
  } else {
    child.close_out();
  }
  child.exchange("", result, SIZE_MAX);
  result.exit_code = child.wait();
  return result;
}

const std::string& tiny_model() {
  static const TempFolder folder;
  static const std::string model = make_model(folder / "tiny", true);
  return model;
}

const std::string& ids_only_model() {
  static const TempFolder folder;
  static const std::string model = make_model(folder / "ids", false);
  return model;
}

}  // namespace bamba::test
