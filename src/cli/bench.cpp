// bamba bench: how fast a model reads prompts and writes tokens, next to what the machine's memory allows.
#include <bamba/machine.h>
#include <bamba/model.h>

#include <algorithm>
#include <memory>
#include <random>

#include "base/stopwatch.h"
#include "base/str.h"
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
  std::string shape;
  int64_t layers = 0, prompt = 512, gen = 64, batch = 1, repeat = 3;
  bool json = false;
};

struct Sample {
  double prompt_seconds;  // to the first token of all sequences: prompts read, token chosen
  double decode_seconds;  // gen further tokens of each sequence
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

BambaForCausalLM bench_model(const BenchFlags& flags) {
  if (flags.shape.empty()) {
    if (flags.layers != 0) fail(ErrorCode::invalid_argument, "--layers goes with --shape");
    return load_model(flags.model);
  }
  if (!flags.model.model.empty()) fail(ErrorCode::invalid_argument, "give -m or --shape, not both");
  BambaConfig config = shape_config(flags.shape);
  if (flags.layers > 0) {
    config.num_hidden_layers = flags.layers;
    std::erase_if(config.attn_layer_indices, [&](int64_t layer) { return layer >= flags.layers; });
  }
  ProgressBar bar(ProgressBar::Unit::bytes);
  RunOptions options = run_options(flags.model);
  options.progress = bar.callback();
  return BambaForCausalLM::from_config(config, {}, options);
}

/// One run: `batch` random prompts, then greedy tokens.
class Run {
 public:
  Run(const BenchFlags& flags, const BambaForCausalLM& model)
      : flags_(flags), model_(model), next_(static_cast<size_t>(flags.batch)) {
    std::mt19937_64 random(1);
    std::uniform_int_distribution<int64_t> any_id(0, model.config().vocab_size - 1);
    prompts_.resize(static_cast<size_t>(flags.batch));
    for (auto& prompt : prompts_) {
      prompt.resize(static_cast<size_t>(flags.prompt));
      for (int64_t& id : prompt) id = any_id(random);
    }
    inputs_.resize(prompts_.size());
  }

  Sample measure() {
    std::vector<SequenceState> states;
    for (size_t i = 0; i < prompts_.size(); ++i) states.push_back(model_.new_state());
    for (size_t i = 0; i < prompts_.size(); ++i) {
      inputs_[i].state = &states[i];
      inputs_[i].input_ids = prompts_[i];
    }
    const Stopwatch reading;
    step();
    Sample sample{reading.seconds(), 0};
    for (size_t i = 0; i < prompts_.size(); ++i) inputs_[i].input_ids = {&next_[i], 1};
    const Stopwatch decoding;
    for (int64_t t = 0; t < flags_.gen; ++t) {
      throw_if_interrupted();
      step();
    }
    sample.decode_seconds = decoding.seconds();
    state_bytes_ = states[0].bytes();
    return sample;
  }

  size_t state_bytes() const { return state_bytes_; }

 private:
  void step() {
    model_.forward(inputs_, {}, output_);
    const auto vocab = static_cast<size_t>(output_.logits.dim(1));
    const std::span<const float> logits = std::as_const(output_.logits).data<float>();
    for (size_t i = 0; i < next_.size(); ++i) {
      const auto row = logits.subspan(i * vocab, vocab);
      next_[i] = std::max_element(row.begin(), row.end()) - row.begin();
    }
  }

  const BenchFlags& flags_;
  const BambaForCausalLM& model_;
  std::vector<std::vector<int64_t>> prompts_;
  std::vector<SequenceInput> inputs_;
  std::vector<int64_t> next_;
  RaggedOutput output_;
  size_t state_bytes_ = 0;
};

struct Report {
  std::string model;
  ModelInfo info;
  MachineRoof roof;
  int threads;
  size_t state_bytes;
  double prompt_tokens_per_second, decode_tokens_per_second, time_to_first_token;
  double weight_bytes_per_second;  // of the decoding steps
};

Json report_json(const Report& report, const BenchFlags& flags) {
  Json out;
  out["model"] = report.model;
  out["parameters"] = report.info.parameters;
  out["weights"] = weight_format_name(report.info.weights);
  out["weight_bytes"] = report.info.weight_bytes;
  out["weight_bytes_per_token"] = report.info.weight_bytes_per_token;
  out["state_bytes"] = report.info.state_bytes;
  out["kv_bytes_per_token"] = report.info.kv_bytes_per_token;
  out["state_bytes_at_end"] = report.state_bytes;
  out["device"] = flags.model.device;
  out["threads"] = report.threads;
  out["cpu_target"] = cpu_target_name();
  out["scan"] = flags.model.scan;
  out["prompt"] = flags.prompt;
  out["gen"] = flags.gen;
  out["batch"] = flags.batch;
  out["repeat"] = flags.repeat;
  out["prompt_tokens_per_second"] = report.prompt_tokens_per_second;
  out["decode_tokens_per_second"] = report.decode_tokens_per_second;
  out["time_to_first_token"] = report.time_to_first_token;
  out["weight_read_bytes_per_second"] = report.weight_bytes_per_second;
  out["machine_read_bytes_per_second"] = report.roof.read_bytes_per_second;
  out["machine_f32_flops_per_second"] = report.roof.f32_flops_per_second;
  out["share_of_read_bandwidth"] = report.weight_bytes_per_second / report.roof.read_bytes_per_second;
  out["version"] = BAMBA_VERSION;
  out["compiler"] = __VERSION__;
  return out;
}

void print_report(const Report& report, const BenchFlags& flags, Output& out) {
  const auto bytes = [](auto value) { return human_bytes(static_cast<double>(value)); };
  const double share = 100 * report.weight_bytes_per_second / report.roof.read_bytes_per_second;
  out.line(str("model         ", report.model, ", ", with_thousands(report.info.parameters), " parameters, ",
               weight_format_name(report.info.weights), " weights, ", bytes(report.info.weight_bytes)));
  out.line(str("machine       ", report.threads, " threads, ", cpu_target_name(), ", reads ",
               bytes(report.roof.read_bytes_per_second), "/s, ", short_number(report.roof.f32_flops_per_second / 1e9),
               " GFLOP/s"));
  out.line(str("prompt        ", short_number(report.prompt_tokens_per_second), " tokens/s (", flags.batch, " x ",
               flags.prompt, " tokens)"));
  out.line(str("first token   ", human_seconds(report.time_to_first_token)));
  out.line(str("decode        ", short_number(report.decode_tokens_per_second), " tokens/s (", flags.batch, " x ",
               flags.gen, " tokens)"));
  out.line(str("weights read  ", bytes(report.info.weight_bytes_per_token), " a step, ",
               bytes(report.weight_bytes_per_second), "/s, ", short_number(share),
               " % of the machine's read bandwidth"));
  out.line(str("state         ", bytes(report.info.state_bytes), " a sequence and ",
               bytes(report.info.kv_bytes_per_token), " a token"));
  out.line(str("version       bamba ", BAMBA_VERSION, ", compiler ", __VERSION__, ", median of ", flags.repeat));
}

ExitCode run_bench(const BenchFlags& flags) {
  const BambaForCausalLM model = bench_model(flags);
  Run run(flags, model);
  std::vector<double> prompt_seconds;
  std::vector<double> decode_seconds;
  ProgressBar bar(ProgressBar::Unit::count);
  static_cast<void>(run.measure());  // memory gets its pages, caches their contents
  for (int64_t i = 0; i < flags.repeat; ++i) {
    bar.update("measuring", static_cast<uint64_t>(i), static_cast<uint64_t>(flags.repeat));
    throw_if_interrupted();
    const Sample sample = run.measure();
    prompt_seconds.push_back(sample.prompt_seconds);
    decode_seconds.push_back(sample.decode_seconds);
  }
  bar.clear();

  Report report;
  report.model = flags.shape.empty() ? model_directory(flags.model).string() : flags.shape;
  report.info = model.model().info();
  report.threads = model.model().threads();
  report.roof = measure_machine(report.threads);
  report.state_bytes = run.state_bytes();
  report.time_to_first_token = median(prompt_seconds);
  const auto batch = static_cast<double>(flags.batch);
  report.prompt_tokens_per_second = batch * static_cast<double>(flags.prompt) / report.time_to_first_token;
  const double steps_per_second = static_cast<double>(flags.gen) / median(decode_seconds);
  report.decode_tokens_per_second = batch * steps_per_second;
  // One step reads the weights once, however many sequences take part in it.
  report.weight_bytes_per_second = steps_per_second * static_cast<double>(report.info.weight_bytes_per_token);

  Output out;
  if (flags.json) {
    out.line(json_line(report_json(report, flags)));
  } else {
    print_report(report, flags, out);
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_bench(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App& command = *program.add_subcommand("bench", "Measure speed, next to the machine's read bandwidth");
  add_model_flag(command, flags->model);
  command.add_option("--shape", flags->shape, "A model of this shape with random weights, made in memory")
      ->type_name("bamba-9b|demo|tiny")
      ->check(one_of(shape_names()));
  command.add_option("--layers", flags->layers, "With --shape: only the first N layers")
      ->type_name("N")
      ->check(whole_number(1, 1024));
  const auto count = [&](const char* name, int64_t& value, int64_t high, const char* help) {
    command.add_option(name, value, help)->type_name("N")->check(whole_number(1, high));
  };
  count("--prompt", flags->prompt, int64_t{1} << 24, "Tokens of each prompt (default 512)");
  count("--gen", flags->gen, int64_t{1} << 24, "Tokens decoded after each prompt (default 64)");
  count("--batch", flags->batch, 4096, "Sequences that run together (default 1)");
  count("--repeat", flags->repeat, 1000, "Runs, after one to warm up; medians are shown (default 3)");
  command.add_flag("--json", flags->json, "One JSON object");
  add_run_flags(command, flags->model);
  command.footer(
      "Examples:\n"
      "  bamba bench\n"
      "  bamba bench -m DIR --prompt 1024 --gen 128 --batch 8 --json\n"
      "  bamba bench --shape bamba-9b --layers 4 --weights bf16");
  command.callback([flags, &chosen] { chosen = [flags] { return run_bench(*flags); }; });
}

}  // namespace bamba::cli
