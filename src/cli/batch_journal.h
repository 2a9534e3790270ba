// What a long batch has answered so far, in FILE.partial beside the output: a run that was interrupted goes on there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace bamba::cli {

/// Lines of JSON: first {"bamba_batch": 1, "inputs": HASH, "prompts": N, "seed": S}, then {"index": I, "output": TEXT}
/// for each prompt that is done, in the order of ending. A last line that was cut short does not count.
class BatchJournal {
 public:
  /// Goes on with what lies there, or begins it. Throws Error(invalid_argument) when it is of other inputs, Error(io)
  /// when it cannot be opened or another run holds it, Error(invalid_file) when it is damaged.
  BatchJournal(std::filesystem::path path, const std::string& inputs, size_t prompts, uint64_t seed);
  ~BatchJournal();
  BatchJournal(const BatchJournal&) = delete;
  BatchJournal& operator=(const BatchJournal&) = delete;

  /// The seed that the first of the runs had.
  uint64_t seed() const { return seed_; }
  /// What is printed for each prompt, once it is done.
  const std::vector<std::optional<std::string>>& outputs() const { return outputs_; }
  /// Writes it down at once. Throws Error(io).
  void add(size_t index, std::string output);
  /// The output is complete; the file goes.
  void remove();

 private:
  void open();
  void read(const std::string& inputs);
  void append(const std::string& line);

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t seed_;
  std::vector<std::optional<std::string>> outputs_;
};

}  // namespace bamba::cli
