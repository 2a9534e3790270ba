#include "cli/bench_report.h"

#include <algorithm>

#include "base/str.h"
#include "cli/profile_table.h"
#include "cli/terminal.h"
#include "model/tensor_specs.h"

namespace bamba::cli {
namespace {

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

ProfilePhase prompt_phase(const BenchReport& report) {
  return {"a run", static_cast<double>(report.prompt.seconds.size()), sum(report.prompt.seconds),
          report.prompt.operations};
}

ProfilePhase decode_phase(const BenchReport& report) {
  return {"a step", static_cast<double>(report.decode.seconds.size()) * static_cast<double>(report.work.gen),
          sum(report.decode.seconds), report.decode.operations};
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double prompt_matrix_flops(const BambaConfig& config, const BenchWork& work) {
  double layers = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.role == TensorRole::linear && spec.name != kHeadName) {
      layers += static_cast<double>(shape_numel(spec.shape));
    }
  }
  const double head = static_cast<double>(config.vocab_size * config.hidden_size);
  return 2 * static_cast<double>(work.batch) * (layers * static_cast<double>(work.prompt) + head);
}

double BenchReport::prompt_seconds() const {
  return median(prompt.seconds);
}
double BenchReport::step_seconds() const {
  return median(decode.seconds) / static_cast<double>(work.gen);
}
double BenchReport::prompt_tokens_per_second() const {
  return static_cast<double>(work.batch * work.prompt) / prompt_seconds();
}
double BenchReport::decode_tokens_per_second() const {
  return static_cast<double>(work.batch) / step_seconds();
}

double BenchReport::step_bytes() const {
  // Step t of gen attends over context + prompt + t tokens.
  const double tokens = static_cast<double>(work.context + work.prompt) + (static_cast<double>(work.gen) + 1) / 2;
  const double sequence =
      (on_gpu ? 2 : 1) * static_cast<double>(info.state_bytes) + static_cast<double>(info.kv_bytes_per_token) * tokens;
  return static_cast<double>(info.weight_bytes_per_token) + static_cast<double>(work.batch) * sequence;
}

double BenchReport::decode_bound() const {
  return static_cast<double>(work.batch) * roof.read_bytes_per_second / step_bytes();
}

double BenchReport::prompt_share_of_peak() const {
  return matrix_flops / prompt_seconds() / peak_of(arithmetic, roof);
}

Json bench_json(const BenchReport& report) {
  const double weight_rate = static_cast<double>(report.info.weight_bytes_per_token) / report.step_seconds();
  Json out;
  out["model"] = report.model;
  out["parameters"] = report.info.parameters;
  out["weights"] = weight_format_name(report.info.weights);
  out["kv"] = kv_format_name(report.info.kv);
  out["activations"] = activation_format_name(report.info.activations);
  out["weight_bytes"] = report.info.weight_bytes;
  out["weight_bytes_per_token"] = report.info.weight_bytes_per_token;
  out["bits_per_weight"] =
      8 * static_cast<double>(report.info.weight_bytes) / static_cast<double>(report.info.parameters);
  out["state_bytes"] = report.info.state_bytes;
  out["kv_bytes_per_token"] = report.info.kv_bytes_per_token;
  out["state_bytes_at_end"] = report.state_bytes;
  out["peak_memory_bytes"] = report.peak_memory_bytes;
  out["gpu_memory_bytes"] = report.info.gpu_memory_bytes;
  out["gpu_memory_peak_bytes"] = report.info.gpu_memory_peak_bytes;
  out["load_seconds"] = report.load_seconds;
  out["device"] = report.device;
  out["threads"] = report.threads;
  out["cpu_target"] = cpu_target_name();
  out["scan"] = report.scan;
  out["context"] = report.work.context;
  out["prompt"] = report.work.prompt;
  out["gen"] = report.work.gen;
  out["batch"] = report.work.batch;
  out["repeat"] = report.repeat;
  out["prompt_seconds"] = report.prompt.seconds;
  out["decode_seconds"] = report.decode.seconds;
  out["prompt_tokens_per_second"] = report.prompt_tokens_per_second();
  out["prompt_share_of_peak"] = report.prompt_share_of_peak();
  out["prompt_peak"] = arithmetic_name(report.arithmetic);
  out["decode_tokens_per_second"] = report.decode_tokens_per_second();
  out["decode_bytes_per_step"] = report.step_bytes();
  out["decode_bound_tokens_per_second"] = report.decode_bound();
  out["decode_share_of_bound"] = report.decode_tokens_per_second() / report.decode_bound();
  out["time_to_first_token"] = report.prompt_seconds();
  out["weight_read_bytes_per_second"] = weight_rate;
  out["share_of_read_bandwidth"] = weight_rate / report.roof.read_bytes_per_second;
  out["machine_read_bytes_per_second"] = report.roof.read_bytes_per_second;
  out["machine_f32_flops_per_second"] = report.roof.f32_flops_per_second;
  out["machine_int8_ops_per_second"] = report.roof.int8_ops_per_second;
  out["machine_bf16_flops_per_second"] = report.roof.bf16_flops_per_second;
  out["version"] = BAMBA_VERSION;
  out["compiler"] = __VERSION__;
  if (report.profile) {
    out["profile"]["prompt"] = profile_json(prompt_phase(report), report.roof);
    out["profile"]["decode"] = profile_json(decode_phase(report), report.roof);
  }
  return out;
}

void print_bench(const BenchReport& report, Output& out) {
  const auto bytes = [](auto value) { return human_bytes(static_cast<double>(value)); };
  const auto percent = [](double share) { return short_number(100 * share) + " %"; };
  const BenchWork& work = report.work;
  const ModelInfo& info = report.info;
  const double weight_rate = static_cast<double>(info.weight_bytes_per_token) / report.step_seconds();
  const char* peak = arithmetic_name(report.arithmetic);
  out.line(str("model         ", report.model, ", ", with_thousands(info.parameters), " parameters, ",
               weight_format_name(info.weights), " weights, ", bytes(info.weight_bytes), ", ready in ",
               human_seconds(report.load_seconds)));
  const std::string reads = str(bytes(report.roof.read_bytes_per_second), "/s");
  const std::string floats = str(short_number(report.roof.f32_flops_per_second / 1e9), " GFLOP/s in f32");
  if (report.on_gpu) {
    out.line(str("machine       CUDA, copies at ", reads, " (read and written), ", floats, ", ",
                 short_number(report.roof.bf16_flops_per_second / 1e12), " TFLOP/s in bf16"));
  } else {
    out.line(str("machine       ", report.threads, " threads, ", cpu_target_name(), ", reads ", reads, ", ", floats,
                 ", ", short_number(report.roof.int8_ops_per_second / 1e9), " GOP/s in int8"));
  }
  if (work.context > 0) out.line(str("context       ", work.context, " tokens before each prompt"));
  out.line(str("prompt        ", short_number(report.prompt_tokens_per_second()), " tokens/s (", work.batch, " x ",
               work.prompt, " tokens); its matrix products alone are ", percent(report.prompt_share_of_peak()),
               " of the ", peak, " peak"));
  out.line(str("first token   ", human_seconds(report.prompt_seconds())));
  out.line(str("decode        ", short_number(report.decode_tokens_per_second()), " tokens/s (", work.batch, " x ",
               work.gen, " tokens); ", percent(report.decode_tokens_per_second() / report.decode_bound()), " of ",
               short_number(report.decode_bound()), ", what moving ", bytes(report.step_bytes()), " a step allows"));
  out.line(str("weights read  ", bytes(info.weight_bytes_per_token), " a step, ", bytes(weight_rate), "/s, ",
               percent(weight_rate / report.roof.read_bytes_per_second), " of the machine's read bandwidth"));
  out.line(str("state         ", bytes(info.state_bytes), " a sequence and ", bytes(info.kv_bytes_per_token),
               " a token (keys and values in ", kv_format_name(info.kv), ")"));
  out.line(str("memory        ", bytes(report.peak_memory_bytes), " at most"));
  if (report.on_gpu) {
    out.line(str("GPU memory    ", bytes(info.gpu_memory_peak_bytes), " at most, of ", bytes(info.gpu_memory_bytes)));
  }
  out.line(str("version       bamba ", BAMBA_VERSION, ", compiler ", __VERSION__, ", median of ", report.repeat));
  if (report.profile) {
    print_profile("prompt", prompt_phase(report), report.roof, out);
    print_profile("decode", decode_phase(report), report.roof, out);
  }
}

}  // namespace bamba::cli
