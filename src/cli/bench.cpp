// bamba bench: how fast a model reads prompts and writes tokens, next to what the machine allows.
#include <bamba/machine.h>
#include <bamba/model.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>

#include "backend/operation_cost.h"
#include "base/stopwatch.h"
#include "base/str.h"
#include "cli/bench_report.h"
#include "cli/bench_run.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

struct BenchFlags {
  ModelFlags model;
  BenchWork work;
  std::string shape;
  int64_t layers = 0, repeat = 3;
  bool json = false, profile = false;
};

BambaForCausalLM bench_model(const BenchFlags& flags, const std::shared_ptr<Profile>& profile) {
  if (flags.shape.empty() && flags.layers != 0) fail(ErrorCode::invalid_argument, "--layers goes with --shape");
  if (!flags.shape.empty() && !flags.model.model.empty()) {
    fail(ErrorCode::invalid_argument, "give -m or --shape, not both");
  }
  ProgressBar bar(ProgressBar::Unit::bytes);
  RunOptions options = run_options(flags.model);
  options.progress = bar.callback();
  options.profile = profile;
  if (flags.shape.empty()) return BambaForCausalLM::from_pretrained(model_directory(flags.model), options);
  BambaConfig config = shape_config(flags.shape);
  if (flags.layers > 0) {
    config.num_hidden_layers = flags.layers;
    std::erase_if(config.attn_layer_indices, [&](int64_t layer) { return layer >= flags.layers; });
  }
  InitOptions init;
  init.matrices = MatrixInit::repeated;
  return BambaForCausalLM::from_config(config, init, options);
}

size_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return static_cast<size_t>(usage.ru_maxrss);
#else
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
#endif
}

MachineRoof median_roof(const std::vector<MachineRoof>& roofs) {
  const auto of = [&](double MachineRoof::*figure) {
    std::vector<double> values;
    values.reserve(roofs.size());
    for (const MachineRoof& roof : roofs) values.push_back(roof.*figure);
    return median(std::move(values));
  };
  return {roofs.front().threads, of(&MachineRoof::read_bytes_per_second), of(&MachineRoof::f32_flops_per_second),
          of(&MachineRoof::int8_ops_per_second), of(&MachineRoof::bf16_flops_per_second)};
}

ExitCode run_bench(const BenchFlags& flags) {
  const auto profile = flags.profile ? std::make_shared<Profile>() : nullptr;
  const Stopwatch loading;
  const BambaForCausalLM model = bench_model(flags, profile);
  BenchReport report;
  report.load_seconds = loading.seconds();

  BenchRun run(model, flags.work, profile);
  ProgressBar bar(ProgressBar::Unit::count);
  run.measure();  // memory gets its pages, caches their contents
  run.clear();
  report.peak_memory_bytes = peak_memory_bytes();  // before the roof's own
  report.info = model.model().info();
  report.threads = model.model().threads();
  std::vector<MachineRoof> roofs;
  for (int64_t i = 0; i < flags.repeat; ++i) {
    bar.update("measuring", static_cast<uint64_t>(i), static_cast<uint64_t>(flags.repeat));
    throw_if_interrupted();
    run.measure();
    // What the neighbours of a virtual machine leave of its memory changes within seconds: asked for beside each run.
    roofs.push_back(model.model().measure_machine());
  }
  bar.clear();

  report.model = flags.shape.empty() ? model_directory(flags.model).string() : flags.shape;
  report.device = flags.model.device;
  const char* usual = report.device == "cuda" && !flags.model.bit_exact ? "chunked" : "recurrent";
  report.scan = flags.model.scan.empty() ? usual : flags.model.scan;
  report.matrix_flops = prompt_matrix_flops(model.config(), flags.work);
  report.on_gpu = report.device == "cuda";
  const bool tensor_cores = report.on_gpu && report.info.activations == ActivationFormat::bf16;
  report.arithmetic = tensor_cores ? Arithmetic::bf16 : backend::arithmetic_of(report.info.weights);
  report.work = flags.work;
  report.repeat = flags.repeat;
  report.state_bytes = run.state_bytes();
  report.prompt = run.prompt();
  report.decode = run.decode();
  report.profile = flags.profile;
  report.roof = median_roof(roofs);

  Output out;
  if (flags.json) {
    out.line(json_line(bench_json(report)));
  } else {
    print_bench(report, out);
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_bench(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App& command = *program.add_subcommand("bench", "Measure speed, next to what the machine allows");
  add_model_flag(command, flags->model);
  command.add_option("--shape", flags->shape, "A model of this shape with random weights, made in memory")
      ->type_name("bamba-9b|demo|tiny")
      ->check(one_of(shape_names()));
  command.add_option("--layers", flags->layers, "With --shape: only the first N layers")
      ->type_name("N")
      ->check(whole_number(1, 1024));
  const auto count = [&](const char* name, int64_t& value, int64_t low, int64_t high, const char* help) {
    command.add_option(name, value, help)->type_name("N")->check(whole_number(low, high));
  };
  constexpr int64_t kMost = int64_t{1} << 24;
  count("--context", flags->work.context, 0, kMost,
        "Tokens that each sequence has read before its prompt, read once and not measured (default 0)");
  count("--prompt", flags->work.prompt, 1, kMost, "Tokens of each prompt (default 512)");
  count("--gen", flags->work.gen, 1, kMost, "Tokens decoded after each prompt (default 64)");
  count("--batch", flags->work.batch, 1, 4096, "Sequences that run together (default 1)");
  count("--repeat", flags->repeat, 1, 1000, "Runs, after one to warm up; medians are shown (default 3)");
  command.add_flag("--profile", flags->profile, "Where the time went, operation by operation");
  command.add_flag("--json", flags->json, "One JSON object");
  add_run_flags(command, flags->model);
  command.footer(
      "Examples:\n"
      "  bamba bench\n"
      "  bamba bench -m DIR --prompt 1024 --gen 128 --batch 8 --json\n"
      "  bamba bench --shape bamba-9b --layers 4 --weights bf16 --profile\n"
      "  bamba bench --shape bamba-9b --context 32768 --prompt 1      decoding after a long text");
  command.callback([flags, &chosen] { chosen = [flags] { return run_bench(*flags); }; });
}

}  // namespace bamba::cli
