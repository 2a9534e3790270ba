// bamba init: a new checkpoint with random weights.
#include <bamba/model.h>

#include <memory>

#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

struct InitFlags {
  std::string output, shape, config, dtype, dt_bias = "ones", matrices = "normal", shard_size = "5GB";
  uint64_t seed = 0;
  bool force = false;
};

ExitCode run_init(const InitFlags& flags) {
  if (flags.shape.empty() == flags.config.empty()) {
    fail(ErrorCode::invalid_argument, "give either --shape NAME or --config F.json");
  }
  const std::filesystem::path directory = flags.output;
  if (!flags.force && std::filesystem::exists(directory / "config.json")) {
    fail(ErrorCode::invalid_argument, "-o: ", directory.string(), " already holds a model; --force overwrites it");
  }
  BambaConfig config = flags.shape.empty() ? BambaConfig::from_pretrained(flags.config) : shape_config(flags.shape);
  DType dtype = config.dtype.value_or(DType::bf16);
  if (flags.dtype == "f32") dtype = DType::f32;
  if (flags.dtype == "f16") dtype = DType::f16;
  if (flags.dtype == "bf16") dtype = DType::bf16;
  config.dtype = dtype;
  InitOptions init;
  init.seed = flags.seed;
  init.matrices = flags.matrices == "normal" ? MatrixInit::normal : MatrixInit::repeated;
  init.dt_bias = flags.dt_bias == "ones" ? DtBiasInit::ones : DtBiasInit::inverse_softplus;
  const uint64_t shard_bytes = parse_size(flags.shard_size, "--max-shard-size");
  ProgressBar bar(ProgressBar::Unit::bytes);
  init_checkpoint(directory, config, init, dtype, shard_bytes, bar.callback());
  bar.clear();
  print_note(str("wrote ", with_thousands(config.parameter_count()), " random parameters (", dtype_torch_name(dtype),
                 ") to ", directory.string()));
  return ExitCode::ok;
}

}  // namespace

void add_init(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<InitFlags>();
  CLI::App& command = *program.add_subcommand("init", "Make a new checkpoint with random weights");
  command.add_option("-o,--output", flags->output, "The folder to write")->type_name("DIR")->required();
  const auto shape = command.add_option("--shape", flags->shape, "A known shape")
                         ->type_name("bamba-9b|demo|tiny")
                         ->check(one_of(shape_names()));
  command.add_option("--config", flags->config, "A config.json, or the folder that holds one")
      ->type_name("F.json")
      ->excludes(shape);
  command.add_option("--dtype", flags->dtype, "Type of the tensors (default: the config's, or bf16)")
      ->type_name("f32|bf16|f16")
      ->check(one_of({"f32", "bf16", "f16"}));
  command.add_option("--seed", flags->seed, "Same seed, same weights (default 0)")
      ->type_name("N")
      ->check(whole_number(0));
  command
      .add_option("--dt-bias", flags->dt_bias,
                  "ones (default, as Transformers does) or inverse-softplus (as mamba-ssm does)")
      ->type_name("RULE")
      ->check(one_of({"ones", "inverse-softplus"}));
  command
      .add_option("--matrices", flags->matrices,
                  "normal (default): every value by itself. repeated: a block of a million values over and over, for "
                  "measuring speed; seconds instead of minutes for billions of weights")
      ->type_name("RULE")
      ->check(one_of({"normal", "repeated"}));
  command.add_option("--max-shard-size", flags->shard_size, "Larger checkpoints are split (default 5GB)")
      ->type_name("SIZE");
  command.add_flag("--force", flags->force, "Overwrite a model that is there");
  command.footer(
      "Tensors are written one by one: the model is never held in memory.\n\n"
      "Examples:\n"
      "  bamba init -o tiny --shape tiny --seed 1\n"
      "  bamba init -o new --config my-config.json --dtype f32\n"
      "  bamba init -o random-9b --shape bamba-9b        20 GB in four shards");
  command.callback([flags, &chosen] { chosen = [flags] { return run_init(*flags); }; });
}

}  // namespace bamba::cli
