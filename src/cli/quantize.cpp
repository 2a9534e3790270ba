// bamba quantize: a checkpoint with smaller weights.
#include <bamba/config.h>
#include <bamba/quantize.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "io/companions.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 31;

struct QuantizeFlags {
  ModelFlags model;
  std::string output, method, calibrate, shard_size = "5GB";
  std::vector<std::string> only;
  int64_t calibrate_tokens = 16384, window = 1024;
  bool one_pass = false, force = false;
};

/// Above this many parameters error feedback takes hours on a few processors, so it must be asked for.
constexpr int64_t kFeedbackParameters = 2'000'000'000;

QuantizeMethod method_of(const QuantizeFlags& flags, int64_t parameters) {
  if (flags.method == "nearest") return QuantizeMethod::nearest;
  if (flags.method == "search") return QuantizeMethod::search;
  if (flags.method == "feedback") {
    if (flags.calibrate.empty()) fail(ErrorCode::invalid_argument, "--method: feedback needs --calibrate FILE");
    return QuantizeMethod::feedback;
  }
  if (flags.model.weights == "fp8") return QuantizeMethod::nearest;
  // 8 bits leave a search nothing to find.
  const bool q8 = flags.model.weights == "q8";
  const QuantizeMethod quick = q8 ? QuantizeMethod::nearest : QuantizeMethod::search;
  if (flags.calibrate.empty()) return quick;
  if (parameters <= kFeedbackParameters) return QuantizeMethod::feedback;
  print_note(str("using --method ", q8 ? "nearest" : "search", "; for ", with_thousands(parameters),
                 " parameters feedback, which is better still, takes hours and must be asked for"));
  return quick;
}

std::vector<int64_t> calibration_ids(const QuantizeFlags& flags) {
  if (flags.calibrate.empty()) return {};
  const Tokenizer tokenizer = require_tokenizer(flags.model, "--calibrate");
  const std::string text =
      flags.calibrate == "-" ? read_stdin("text", kMaxTextBytes) : read_file(flags.calibrate, kMaxTextBytes);
  std::vector<int64_t> ids = tokenizer.encode(text);
  if (ids.empty()) fail(ErrorCode::invalid_argument, "--calibrate: ", flags.calibrate, " holds no text");
  if (flags.calibrate_tokens > 0 && static_cast<int64_t>(ids.size()) > flags.calibrate_tokens) {
    ids.resize(static_cast<size_t>(flags.calibrate_tokens));
  }
  return ids;
}

/// bf16 and f16: the model as it would be held in memory.
void convert(const QuantizeFlags& flags, const std::filesystem::path& target, uint64_t shard_bytes) {
  if (!flags.calibrate.empty() || !flags.method.empty() || !flags.only.empty()) {
    fail(ErrorCode::invalid_argument, "--calibrate, --method and --only choose how weights are quantized; ",
         flags.model.weights, " weights are only rounded");
  }
  ProgressBar bar(ProgressBar::Unit::bytes);
  RunOptions options = run_options(flags.model);
  options.progress = bar.callback();
  SaveOptions save;
  save.max_shard_bytes = shard_bytes;
  BambaForCausalLM::from_pretrained(model_directory(flags.model), options).save_pretrained(target, save);
  copy_companions(model_directory(flags.model), target);
}

ExitCode run_quantize(const QuantizeFlags& flags) {
  const std::filesystem::path source = model_directory(flags.model);
  const std::filesystem::path target = flags.output;
  if (!flags.force && std::filesystem::exists(target / "config.json")) {
    fail(ErrorCode::invalid_argument, "-o: ", target.string(), " already holds a model; --force overwrites it");
  }
  std::error_code error;
  if (std::filesystem::equivalent(source, target, error)) {
    fail(ErrorCode::invalid_argument, "-o: ", target.string(), " is the model itself; give another folder");
  }
  const uint64_t shard_bytes = parse_size(flags.shard_size, "--max-shard-size");
  if (flags.model.weights == "bf16" || flags.model.weights == "f16") {
    convert(flags, target, shard_bytes);
  } else {
    QuantizeOptions options;
    options.weights = *weight_format_from_name(flags.model.weights);
    options.method = method_of(flags, BambaConfig::from_pretrained(source).parameter_count());
    options.calibration = calibration_ids(flags);
    options.window = flags.window;
    options.sequential = !flags.one_pass;
    options.only = {flags.only.begin(), flags.only.end()};
    options.max_shard_bytes = shard_bytes;
    options.threads = flags.model.threads;
    ProgressBar bar(ProgressBar::Unit::count);
    options.progress = bar.callback();
    quantize_checkpoint(source, target, options);
  }
  print_note(str("wrote ", flags.model.weights, " weights to ", target.string()));
  return ExitCode::ok;
}

}  // namespace

void add_quantize(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App& command = *program.add_subcommand("quantize", "Write a checkpoint with smaller weights");
  add_model_flag(command, flags->model);
  command.add_option("-o,--output", flags->output, "The folder to write")->type_name("DIR")->required();
  command.add_option("--weights", flags->model.weights, "Format of the matrices")
      ->type_name("fp8|q8|q4|bf16|f16")
      ->check(one_of({"fp8", "q8", "q4", "bf16", "f16"}))
      ->required();
  command
      .add_option(
          "--calibrate", flags->calibrate,
          "A text like those the model will read: errors are kept out of what it makes the model do; - for stdin")
      ->type_name("FILE");
  command
      .add_option("--calibrate-tokens", flags->calibrate_tokens, "Tokens of it that are read (default 16384; 0: all)")
      ->type_name("N")
      ->check(whole_number(0));
  command.add_option("--calibrate-window", flags->window, "Tokens of a sequence (default 1024)")
      ->type_name("N")
      ->check(whole_number(1));
  command.add_flag("--one-pass", flags->one_pass,
                   "Calibrate with the activations of the original layers instead of the quantized ones");
  command
      .add_option("--method", flags->method,
                  "nearest (seconds; the default for q8, and all there is for fp8), search (the default for q4) or "
                  "feedback (the default with "
                  "--calibrate for models of up to 2 billion parameters; hours for 9 billion)")
      ->type_name("METHOD")
      ->check(one_of({"nearest", "search", "feedback"}));
  command
      .add_option("--only", flags->only,
                  "Quantize these matrices only: embedding, lm_head, in_proj, out_proj, attention, gate_up, down")
      ->type_name("CLASS,...")
      ->delimiter(',')
      ->check(one_of(quantizable_classes()));
  command.add_option("--max-shard-size", flags->shard_size, "Larger checkpoints are split (default 5GB)")
      ->type_name("SIZE");
  command.add_option("--threads", flags->model.threads, "Threads (default 0: all processors)")
      ->type_name("N")
      ->check(whole_number(0, 1024));
  command.add_flag("--force", flags->force, "Overwrite a model that is there");
  command.footer(
      "Layer by layer: the model is never held in memory whole. docs/quantization.md says what each method gains and "
      "takes.\n\n"
      "Examples:\n"
      "  bamba quantize -m DIR -o DIR-fp8 --weights fp8\n"
      "  bamba quantize -m DIR -o DIR-q8 --weights q8\n"
      "  bamba quantize -m DIR -o DIR-q4 --weights q4 --calibrate text.txt\n"
      "  bamba eval -m DIR-q4 --against DIR --text other.txt");
  command.callback([flags, &chosen] { chosen = [flags] { return run_quantize(*flags); }; });
}

}  // namespace bamba::cli
