// Flags that mean the same in every subcommand, and checks that name the flag they refuse.
#pragma once

#include <bamba/config.h>
#include <bamba/model.h>
#include <bamba/tokenizer.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bamba::cli {

/// -m, --device, --weights, --kv, --activations, --gpu-memory, --bit-exact, --threads, --scan.
struct ModelFlags {
  std::string model;
  std::string device = "cpu";
  std::string weights;
  std::string kv;
  std::string activations;
  std::string gpu_memory;
  bool bit_exact = false;
  std::string scan;
  int threads = 0;
};

void add_model_flag(CLI::App& command, ModelFlags& flags);
void add_run_flags(CLI::App& command, ModelFlags& flags);
void add_kv_flag(CLI::App& command, ModelFlags& flags);

/// -m, or else the demo model: $BAMBA_MODEL, the installed share/bamba/models/demo, the source tree's models/demo.
/// Throws Error(io) when there is no such folder.
std::filesystem::path model_directory(const ModelFlags& flags);
RunOptions run_options(const ModelFlags& flags);
/// Loads with a progress bar.
/// Throws Error(io) when a file of that name could not be written: said before the work, not after it.
void check_writable(const std::filesystem::path& path);
BambaForCausalLM load_model(const ModelFlags& flags);
/// The model folder's tokenizer, or nothing when it has none.
std::optional<Tokenizer> load_tokenizer(const ModelFlags& flags);
/// The same for work that cannot do without: `need` says what for ("a prompt in text needs a tokenizer: ...").
Tokenizer require_tokenizer(const ModelFlags& flags, std::string_view need);

/// Checks for CLI11, whose message is "--flag: 7 is not in [0, 1]" and the like.
CLI::Validator whole_number(int64_t low, int64_t high = std::numeric_limits<int64_t>::max());
enum class Ends { closed, open_low };
CLI::Validator number(double low, double high = std::numeric_limits<double>::infinity(), Ends ends = Ends::closed);
CLI::Validator one_of(std::vector<std::string> choices);

/// "1,2,3" (spaces and one pair of [] allowed). Throws Error(invalid_argument) naming `flag`.
std::vector<int64_t> parse_ids(std::string_view text, std::string_view flag);
/// "5GB", "200 MB", "1048576". Throws Error(invalid_argument) naming `flag`.
uint64_t parse_size(std::string_view text, std::string_view flag);

/// Shapes that --shape knows, by name: bamba-9b, demo, tiny.
BambaConfig shape_config(const std::string& name);
std::vector<std::string> shape_names();

}  // namespace bamba::cli
