// bamba info: what a checkpoint folder holds, without loading it.
#include <bamba/config.h>
#include <bamba/generation.h>
#include <bamba/tokenizer.h>

#include <unistd.h>

#include <map>
#include <memory>

#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_out.h"
#include "cli/model_size.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "io/checkpoint.h"
#include "model/fp8_config.h"
#include "model/quantization_config.h"
#include "model/tensor_specs.h"

namespace bamba::cli {
namespace {

struct InfoFlags {
  ModelFlags model;
  std::string folder;
  bool json = false, tensors = false;
};

struct StoredTensor {
  std::string name;
  std::string type;  ///< as safetensors spells it; "q8" or "q4" for a packed matrix
  Shape shape;       ///< of the matrix itself where that is packed
};

struct Found {
  std::filesystem::path directory;
  BambaConfig config;
  Checkpoint checkpoint;
  std::optional<Tokenizer> tokenizer;
  KvFormat kv = KvFormat::f32;
  std::vector<StoredTensor> tensors;
  int64_t parameters = 0;                   // as stored
  std::map<std::string, int64_t> by_dtype;  // elements of each type
  std::optional<Fp8Block> fp8_block;        // of fp8 weights with scales for blocks
};

Found look(const InfoFlags& flags) {
  ModelFlags model = flags.model;
  if (!flags.folder.empty()) model.model = flags.folder;
  const std::filesystem::path directory = model_directory(model);
  Found found{directory,
              BambaConfig::from_pretrained(directory),
              Checkpoint::open(directory),
              load_tokenizer(model),
              KvFormat::f32,
              {},
              0,
              {},
              {}};
  const std::string origin = (directory / "config.json").string();
  const auto quantization = read_quantization_config(found.config, origin);
  // What loading the folder without --weights would choose.
  const bool half = found.config.dtype == DType::bf16 || found.config.dtype == DType::f16;
  const WeightFormat stored = quantization ? quantization->weights : half ? WeightFormat::bf16 : WeightFormat::f32;
  found.kv = kv_format_from_name(model.kv).value_or(default_kv_format(stored));
  std::map<std::string, Shape> packed_shapes;
  for (const TensorSpec& spec : tensor_specs(found.config)) {
    if (quantization && quantization->tensors.contains(spec.name)) packed_shapes[spec.name] = spec.shape;
  }
  for (const std::string& name : found.checkpoint.names()) {
    const SafetensorsEntry& entry = found.checkpoint.entry(name);
    const auto packed = packed_shapes.find(name);
    if (packed == packed_shapes.end()) {
      found.tensors.push_back({name, std::string(dtype_safetensors_name(entry.dtype)), entry.shape});
    } else {
      const WeightFormat format = quantization->tensors.find(name)->second;
      found.tensors.push_back({name, std::string(weight_format_name(format)), packed->second});
    }
    const int64_t count = shape_numel(found.tensors.back().shape);
    found.parameters += count;
    found.by_dtype[found.tensors.back().type] += count;
  }
  if (found.by_dtype.contains(std::string(dtype_safetensors_name(DType::f8_e4m3)))) {
    found.fp8_block = read_fp8_config(found.config, origin).block;
  }
  return found;
}

void print_json(const Found& found, bool tensors, Output& out) {
  Json line;
  line["model"] = found.directory.string();
  line["parameters"] = found.parameters;
  line["parameters_by_dtype"] = found.by_dtype;
  line["fp8_block_size"] = nullptr;
  if (found.fp8_block) line["fp8_block_size"] = {found.fp8_block->rows, found.fp8_block->cols};
  line["weight_bytes"] = found.checkpoint.total_bytes();
  line["files"] = found.checkpoint.files().size();
  const StateSize state = state_size(found.config, found.kv);
  line["state_bytes"] = state.fixed_bytes;
  line["kv_bytes_per_token"] = state.bytes_per_token;
  line["kv"] = kv_format_name(found.kv);
  line["vocab_size"] = found.config.vocab_size;
  line["tokenizer"] = nullptr;
  if (found.tokenizer) {
    line["tokenizer"] = {{"vocab_size", found.tokenizer->vocab_size()},
                         {"chat_template", found.tokenizer->has_chat_template()}};
  }
  line["config"] = parse_json(found.config.to_json(), "config.json", ErrorCode::internal);
  if (tensors) {
    Json list = Json::array();
    for (const StoredTensor& tensor : found.tensors) {
      list.push_back({{"name", tensor.name}, {"dtype", tensor.type}, {"shape", tensor.shape}});
    }
    line["tensors"] = std::move(list);
  }
  out.line(json_line(line));
}

std::string layers_text(const BambaConfig& config) {
  const int64_t attention = config.num_attention_layers();
  std::string text =
      str(config.num_hidden_layers, ": ", config.num_hidden_layers - attention, " Mamba-2, ", attention, " attention");
  if (attention > 0) text += str(" (at ", list_str(std::span(config.attn_layer_indices)), ")");
  return text;
}

void print_text(const Found& found, bool tensors, Output& out) {
  const BambaConfig& config = found.config;
  const auto row = [&](std::string_view name, const std::string& value) {
    std::string label(name);
    label.resize(16, ' ');
    out.write_styled(styled(STDOUT_FILENO, Style::cyan, label));
    out.line(value);
  };
  std::string formats;
  for (const auto& [name, count] : found.by_dtype) formats += (formats.empty() ? "" : ", ") + name;
  const StateSize state = state_size(config, found.kv);
  row("model", found.directory.string());
  row("parameters", str(with_thousands(found.parameters), " (", formats, ")"));
  const size_t files = found.checkpoint.files().size();
  std::string weights = str(human_bytes(static_cast<double>(found.checkpoint.total_bytes())), " in ", files,
                            files == 1 ? " file" : " files");
  if (found.fp8_block) {
    weights += str(", fp8 scales for blocks of ", found.fp8_block->rows, " x ", found.fp8_block->cols);
  }
  row("weights", weights);
  row("layers", layers_text(config));
  row("width",
      str("hidden ", config.hidden_size, ", feed-forward ", config.intermediate_size, ", ", config.hidden_act));
  row("mamba",
      str(config.mamba_n_heads, " heads of ", config.mamba_d_head, ", state ", config.mamba_d_state, ", groups ",
          config.mamba_n_groups, ", convolution ", config.mamba_d_conv, ", chunk ", config.mamba_chunk_size));
  if (config.num_attention_layers() > 0) {
    row("attention", str(config.num_attention_heads, " heads of ", config.head_dim(), ", ", config.num_key_value_heads,
                         " for keys and values, rotary ", config.rotary_dim(), " (", config.rope.rope_type, ", theta ",
                         short_number(config.rope.rope_theta), ")"));
  }
  row("context", str(with_thousands(config.max_position_embeddings), " tokens"));
  row("state", str(human_bytes(static_cast<double>(state.fixed_bytes)), " a sequence, and ",
                   human_bytes(static_cast<double>(state.bytes_per_token)), " a token (keys and values in ",
                   kv_format_name(found.kv), ")"));
  row("vocabulary", str(with_thousands(config.vocab_size), config.tie_word_embeddings ? ", tied" : ""));
  if (found.tokenizer) {
    row("tokenizer", str(with_thousands(found.tokenizer->vocab_size()), " tokens, ",
                         found.tokenizer->has_chat_template() ? "with" : "without", " a chat template"));
  } else {
    row("tokenizer", "none (give ids)");
  }
  if (!tensors) return;
  for (const StoredTensor& tensor : found.tensors) {
    out.line(str(tensor.name, '\t', tensor.type, '\t', list_str<int64_t>(tensor.shape)));
  }
}

ExitCode run_info(const InfoFlags& flags) {
  const Found found = look(flags);
  Output out;
  if (flags.json) {
    print_json(found, flags.tensors, out);
  } else {
    print_text(found, flags.tensors, out);
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_info(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<InfoFlags>();
  CLI::App& command = *program.add_subcommand("info", "Show what a checkpoint folder holds");
  const auto folder = command.add_option("folder", flags->folder, "The folder (default: as for -m)")->type_name("DIR");
  command.add_option("-m,--model", flags->model.model, "The same")->type_name("DIR")->excludes(folder);
  add_kv_flag(command, flags->model);
  command.add_flag("--tensors", flags->tensors, "List all tensors too");
  command.add_flag("--json", flags->json, "One JSON object");
  command.footer(
      "Nothing is loaded: this is instant for any size.\n\n"
      "Examples:\n"
      "  bamba info\n"
      "  bamba info ~/models/Bamba-9B-v2 --tensors");
  command.callback([flags, &chosen] { chosen = [flags] { return run_info(*flags); }; });
}

}  // namespace bamba::cli
