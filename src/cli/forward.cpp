// bamba forward: tensors in, tensors out. How this engine is held against another one, tensor by tensor.
#include <bamba/model.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/str.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "io/safetensors.h"
#include "model/loss.h"

namespace bamba::cli {
namespace {

struct ForwardFlags {
  ModelFlags model;
  std::string input, output;
  int64_t logits_to_keep = 0, cached_steps = 0, chunk = 0;
  bool hidden_states = false, attentions = false, cache = false;
};

/// The arguments, as read from the file.
struct Arguments {
  Tensor input_ids, inputs_embeds, attention_mask, position_ids, labels;
  int64_t batch = 0, columns = 0;
};

Tensor integers(const SafetensorsFile& file, const char* name) {
  if (!file.contains(name)) return {};
  Tensor tensor = file.tensor(name);
  switch (tensor.dtype()) {
    case DType::i64:
      return tensor;
    case DType::i32:
    case DType::boolean:
    case DType::u8:
      return tensor.to(DType::i64);
    default:
      fail(ErrorCode::invalid_file, file.path().string(), ": ", name, " is ", tensor.describe(),
           "; integers (I64) are needed");
  }
}

Arguments read_arguments(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const auto& entry : file.header().tensors) {
    const std::string& name = entry.first;
    if (name != "input_ids" && name != "inputs_embeds" && name != "attention_mask" && name != "position_ids" &&
        name != "labels") {
      fail(ErrorCode::invalid_file, path, ": tensor ", name,
           " is no argument; known are input_ids, inputs_embeds, attention_mask, position_ids and labels");
    }
  }
  Arguments out;
  out.input_ids = integers(file, "input_ids");
  out.attention_mask = integers(file, "attention_mask");
  out.position_ids = integers(file, "position_ids");
  out.labels = integers(file, "labels");
  if (file.contains("inputs_embeds")) out.inputs_embeds = file.tensor("inputs_embeds").to(DType::f32);
  if (static_cast<bool>(out.input_ids) == static_cast<bool>(out.inputs_embeds)) {
    fail(ErrorCode::invalid_file, path, ": give either input_ids [batch, seq] or inputs_embeds [batch, seq, hidden]");
  }
  const Tensor& main = out.input_ids ? out.input_ids : out.inputs_embeds;
  if (main.rank() != (out.input_ids ? 2U : 3U) || main.numel() == 0) {
    fail(ErrorCode::invalid_file, path, ": ", out.input_ids ? "input_ids" : "inputs_embeds", " is ", main.describe(),
         "; [batch, seq] or [batch, seq, hidden] with at least one token is needed");
  }
  out.batch = main.dim(0);
  out.columns = main.dim(1);
  const auto check = [&](const char* name, const Tensor& tensor, bool one_row) {
    if (!tensor) return;
    const bool rows = tensor.rank() == 2 && (tensor.dim(0) == out.batch || (one_row && tensor.dim(0) == 1));
    if (!rows || tensor.dim(1) != out.columns) {
      fail(ErrorCode::invalid_file, path, ": ", name, " is ", tensor.describe(), "; [", out.batch, ", ", out.columns,
           "] is needed");
    }
  };
  check("attention_mask", out.attention_mask, false);
  check("position_ids", out.position_ids, true);
  check("labels", out.labels, false);
  return out;
}

/// Column counts of the calls: the prompt in pieces of --chunk, then --cached-steps single columns.
std::vector<int64_t> call_widths(const ForwardFlags& flags, int64_t columns) {
  if (flags.cached_steps > columns) {
    fail(ErrorCode::invalid_argument, "--cached-steps: ", flags.cached_steps, " is more than the input's ", columns,
         " tokens");
  }
  const int64_t prompt = columns - flags.cached_steps;
  const int64_t piece = flags.chunk > 0 ? flags.chunk : std::max<int64_t>(prompt, 1);
  std::vector<int64_t> widths;
  for (int64_t done = 0; done < prompt; done += piece) widths.push_back(std::min(piece, prompt - done));
  widths.insert(widths.end(), static_cast<size_t>(flags.cached_steps), 1);
  return widths;
}

/// All outputs, joined over the calls.
struct Outputs {
  Tensor logits, loss;
  std::vector<Tensor> hidden_states, attentions;
  std::shared_ptr<HybridMambaAttentionDynamicCache> cache;
};

Outputs run_once(const BambaForCausalLM& model, const Arguments& arguments, const ForwardFlags& flags) {
  ForwardInputs inputs;
  inputs.input_ids = arguments.input_ids;
  inputs.inputs_embeds = arguments.inputs_embeds;
  inputs.attention_mask = arguments.attention_mask;
  inputs.position_ids = arguments.position_ids;
  inputs.labels = arguments.labels;
  // The loss needs the logits of all positions; they are cut afterwards.
  inputs.logits_to_keep = arguments.labels ? 0 : flags.logits_to_keep;
  inputs.use_cache = flags.cache;
  inputs.output_hidden_states = flags.hidden_states;
  inputs.output_attentions = flags.attentions;
  CausalLMOutputWithPast out = model.forward(inputs);
  return {out.logits, out.loss, out.hidden_states, out.attentions, out.past_key_values};
}

Outputs run_in_calls(const BambaForCausalLM& model, const Arguments& arguments, const ForwardFlags& flags,
                     const std::vector<int64_t>& widths) {
  Outputs joined;
  joined.cache = std::make_shared<HybridMambaAttentionDynamicCache>(model.model(), arguments.batch);
  ProgressBar bar(ProgressBar::Unit::count);
  int64_t begin = 0;
  for (const int64_t width : widths) {
    throw_if_interrupted();
    const int64_t end = begin + width;
    ForwardInputs inputs;
    if (arguments.input_ids) inputs.input_ids = slice_columns(arguments.input_ids, begin, end);
    if (arguments.inputs_embeds) inputs.inputs_embeds = slice_columns(arguments.inputs_embeds, begin, end);
    if (arguments.attention_mask) inputs.attention_mask = slice_columns(arguments.attention_mask, 0, end);
    if (arguments.position_ids) inputs.position_ids = slice_columns(arguments.position_ids, begin, end);
    inputs.past_key_values = joined.cache;
    inputs.use_cache = true;
    inputs.output_hidden_states = flags.hidden_states;
    inputs.output_attentions = flags.attentions;
    const CausalLMOutputWithPast out = model.forward(inputs);
    if (begin == 0) {
      const int64_t vocab = out.logits.dim(2);
      joined.logits = Tensor::zeros(DType::f32, {arguments.batch, arguments.columns, vocab});
      for (const Tensor& states : out.hidden_states) {
        joined.hidden_states.push_back(Tensor::zeros(DType::f32, {arguments.batch, arguments.columns, states.dim(2)}));
      }
      for (const Tensor& weights : out.attentions) {
        joined.attentions.push_back(
            Tensor::zeros(DType::f32, {arguments.batch, weights.dim(1), arguments.columns, arguments.columns}));
      }
    }
    put_columns(out.logits, joined.logits, begin);
    for (size_t i = 0; i < out.hidden_states.size(); ++i) {
      put_columns(out.hidden_states[i], joined.hidden_states[i], begin);
    }
    for (size_t i = 0; i < out.attentions.size(); ++i) put_attention(out.attentions[i], joined.attentions[i], begin);
    begin = end;
    bar.update("reading", static_cast<uint64_t>(end), static_cast<uint64_t>(arguments.columns));
  }
  return joined;
}

/// What the model computes itself when it sees all columns in one call.
Tensor loss_of(const Tensor& logits, const Arguments& arguments, const BambaConfig& config) {
  LossInputs inputs;
  inputs.logits = logits;
  inputs.labels = arguments.labels;
  inputs.z_loss_coefficient = config.z_loss_coefficient;
  inputs.real.assign(static_cast<size_t>(arguments.batch * arguments.columns), true);
  if (arguments.attention_mask) {
    const auto mask = arguments.attention_mask.data<int64_t>();
    std::transform(mask.begin(), mask.end(), inputs.real.begin(), [](int64_t value) { return value != 0; });
  }
  const std::array<float, 1> value = {static_cast<float>(causal_lm_loss(inputs))};
  return Tensor::from(std::span<const float>(value), {});
}

NamedTensors named_outputs(const Outputs& outputs, const BambaConfig& config, const ForwardFlags& flags) {
  NamedTensors tensors;
  Tensor logits = outputs.logits;
  const int64_t columns = logits.dim(1);
  if (flags.logits_to_keep > 0 && flags.logits_to_keep < columns) {
    logits = slice_columns(logits, columns - flags.logits_to_keep, columns);
  }
  tensors.emplace_back("logits", logits);
  if (outputs.loss) tensors.emplace_back("loss", outputs.loss);
  for (size_t i = 0; i < outputs.hidden_states.size(); ++i) {
    tensors.emplace_back(str("hidden_states.", i), outputs.hidden_states[i]);
  }
  for (size_t i = 0; i < outputs.attentions.size(); ++i) {
    tensors.emplace_back(str("attentions.", config.attn_layer_indices[i]), outputs.attentions[i]);
  }
  if (!flags.cache) return tensors;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = str("cache.", layer, ".");
    if (config.layer_type(layer) == LayerType::mamba) {
      tensors.emplace_back(prefix + "conv_state", outputs.cache->conv_states(layer));
      tensors.emplace_back(prefix + "ssm_state", outputs.cache->ssm_states(layer));
    } else {
      tensors.emplace_back(prefix + "key", outputs.cache->key_cache(layer));
      tensors.emplace_back(prefix + "value", outputs.cache->value_cache(layer));
    }
  }
  return tensors;
}

ExitCode run_forward(const ForwardFlags& flags) {
  const Arguments arguments = read_arguments(flags.input);
  const std::vector<int64_t> widths = call_widths(flags, arguments.columns);
  const BambaForCausalLM model = load_model(flags.model);
  Outputs outputs;
  if (widths.size() == 1) {
    outputs = run_once(model, arguments, flags);
  } else {
    outputs = run_in_calls(model, arguments, flags, widths);
    if (arguments.labels) outputs.loss = loss_of(outputs.logits, arguments, model.config());
  }
  save_safetensors(flags.output, named_outputs(outputs, model.config(), flags));
  return ExitCode::ok;
}

}  // namespace

void add_forward(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<ForwardFlags>();
  CLI::App& command = *program.add_subcommand("forward", "Run the model on tensors and write its outputs as tensors");
  add_model_flag(command, flags->model);
  command
      .add_option("--input", flags->input,
                  "Tensors named as the arguments of BambaForCausalLM.forward: input_ids I64 [batch, seq] or "
                  "inputs_embeds F32 [batch, seq, hidden]; optional attention_mask, position_ids, labels")
      ->type_name("F.safetensors")
      ->required();
  command.add_option("-o,--output", flags->output, "logits F32 [batch, seq, vocab], loss with labels, and the below")
      ->type_name("OUT.safetensors")
      ->required();
  const auto count = [&](const char* name, int64_t& value, const char* help) {
    command.add_option(name, value, help)->type_name("N")->check(whole_number(0));
  };
  count("--logits-to-keep", flags->logits_to_keep, "Write only the last N positions' logits (0: all)");
  count("--cached-steps", flags->cached_steps, "Run the last N tokens one by one through the cache");
  count("--chunk", flags->chunk, "Feed the prompt in pieces of N tokens (0: at once)");
  command.add_flag("--hidden-states", flags->hidden_states, "Write hidden_states.0 ... hidden_states.LAYERS");
  command.add_flag("--attentions", flags->attentions, "Write attentions.LAYER of the attention layers");
  command.add_flag("--cache", flags->cache, "Write cache.LAYER.conv_state, ssm_state, key and value");
  add_run_flags(command, flags->model);
  command.footer(
      "However the input is cut into calls, the logits of all positions are written, so that any two ways of running\n"
      "can be compared.\n\n"
      "Examples:\n"
      "  bamba forward -m DIR --input in.safetensors -o out.safetensors --hidden-states\n"
      "  bamba forward -m DIR --input in.safetensors -o steps.safetensors --cached-steps 16 --chunk 64 --cache");
  command.callback([flags, &chosen] { chosen = [flags] { return run_forward(*flags); }; });
}

}  // namespace bamba::cli
