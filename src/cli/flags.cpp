#include "cli/flags.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <system_error>

#include "base/file.h"
#include "base/str.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::filesystem::path> demo_model_places() {
  std::vector<std::filesystem::path> places;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::canonical("/proc/self/exe", error);
  if (!error) places.push_back(program.parent_path().parent_path() / "share" / "bamba" / "models" / "demo");
  places.emplace_back(BAMBA_SOURCE_MODEL_DIR);
  return places;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

void add_model_flag(CLI::App& command, ModelFlags& flags) {
  command
      .add_option("-m,--model", flags.model,
                  "Folder of a Hugging Face checkpoint (default: $BAMBA_MODEL, or else the demo model)")
      // An unset variable in a script must not quietly become the demo model.
      ->check([](const std::string& value) { return std::string(value.empty() ? "it is empty; name a folder" : ""); })
      ->type_name("DIR");
}

namespace {
constexpr const char* kRunGroup = "Running the model";
}

void add_kv_flag(CLI::App& command, ModelFlags& flags) {
  command
      .add_option("--kv", flags.kv,
                  "Format of attention keys and values in memory (default: f32, with q8 and q4 weights bf16)")
      ->type_name("f32|bf16")
      ->check(one_of({"f32", "bf16"}))
      ->group(kRunGroup);
}

void add_run_flags(CLI::App& command, ModelFlags& flags) {
  const std::string group = kRunGroup;
  command.add_option("--device", flags.device, "Where it runs: cpu or cuda")->type_name("NAME")->group(group);
  command.add_option("--weights", flags.weights, "Format of the weights in memory (default: the checkpoint's own)")
      ->type_name("f32|bf16|f16|fp8|q8|q4")
      ->check(one_of({"f32", "bf16", "f16", "fp8", "q8", "q4"}))
      ->group(group);
  add_kv_flag(command, flags);
  command
      .add_option("--activations", flags.activations,
                  "What activations are rounded to before products with bf16 weights (default: f32; on CUDA bf16)")
      ->type_name("f32|bf16")
      ->check(one_of({"f32", "bf16"}))
      ->group(group);
  command
      .add_option("--gpu-memory", flags.gpu_memory, "Memory of the GPU to take (default: nine tenths of what is free)")
      ->type_name("SIZE")
      ->group(group);
  command
      .add_flag("--bit-exact", flags.bit_exact,
                "On CUDA too, results that depend neither on the batch nor on how a text is cut; slower prompts")
      ->group(group);
  command.add_option("--threads", flags.threads, "Threads (default 0: all processors); results do not depend on it")
      ->type_name("N")
      ->check(whole_number(0, 1024))
      ->group(group);
  command
      .add_option("--scan", flags.scan,
                  "Form of the selective scan: recurrent (prompt and decoding agree bit for bit; the CPU's default) or "
                  "chunked (CUDA's)")
      ->type_name("FORM")
      ->check(one_of({"recurrent", "chunked"}))
      ->group(group);
}

std::filesystem::path model_directory(const ModelFlags& flags) {
  const auto checked = [](const std::filesystem::path& path, std::string_view source) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      fail(ErrorCode::io, "there is no folder ", path.string(), " (", source, ")");
    }
    if (!std::filesystem::is_directory(path, error)) {
      fail(ErrorCode::invalid_argument, path.string(), " (", source, ") is not a folder; give the folder that holds ",
           "config.json");
    }
    return path;
  };
  if (!flags.model.empty()) return checked(flags.model, "-m/--model");
  if (const char* chosen = std::getenv("BAMBA_MODEL"); chosen != nullptr && chosen[0] != '\0') {
    return checked(chosen, "$BAMBA_MODEL");
  }
  std::string looked;
  for (const auto& place : demo_model_places()) {
    std::error_code error;
    if (std::filesystem::is_directory(place, error)) return place;
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  fail(ErrorCode::io, "the demo model is not installed (looked in ", looked, "); name a model with -m DIR");
}

RunOptions run_options(const ModelFlags& flags) {
  RunOptions options;
  options.device = flags.device;
  options.threads = flags.threads;
  if (!flags.weights.empty()) options.weights = weight_format_from_name(flags.weights);
  if (!flags.kv.empty()) options.kv = kv_format_from_name(flags.kv);
  if (!flags.activations.empty()) options.activations = activation_format_from_name(flags.activations);
  if (!flags.scan.empty()) options.scan = flags.scan == "chunked" ? ScanForm::chunked : ScanForm::recurrent;
  options.bit_exact = flags.bit_exact;
  if (!flags.gpu_memory.empty()) {
    if (flags.device != "cuda") fail(ErrorCode::invalid_argument, "--gpu-memory goes with --device cuda");
    options.gpu_memory = parse_size(flags.gpu_memory, "--gpu-memory");
  }
  return options;
}

void check_writable(const std::filesystem::path& path) {
  // Making the temporary file is the check. Pipes and devices are only opened when there is something for them.
  if (!std::filesystem::exists(path) || std::filesystem::is_regular_file(path)) const AtomicFile probe(path);
}

BambaForCausalLM load_model(const ModelFlags& flags) {
  ProgressBar bar(ProgressBar::Unit::bytes);
  RunOptions options = run_options(flags);
  options.progress = bar.callback();
  return BambaForCausalLM::from_pretrained(model_directory(flags), options);
}

std::optional<Tokenizer> load_tokenizer(const ModelFlags& flags) {
  const std::filesystem::path directory = model_directory(flags);
  if (!Tokenizer::exists(directory)) return {};
  return Tokenizer::from_pretrained(directory);
}

Tokenizer require_tokenizer(const ModelFlags& flags, std::string_view need) {
  std::optional<Tokenizer> tokenizer = load_tokenizer(flags);
  if (!tokenizer) {
    fail(ErrorCode::invalid_argument, need, " needs a tokenizer, and ", model_directory(flags).string(),
         " has no tokenizer.json");
  }
  return *std::move(tokenizer);
}

CLI::Validator whole_number(int64_t low, int64_t high) {
  const auto check = [low, high](std::string& text) -> std::string {
    int64_t value = 0;
    if (parse_number(text, value) && value >= low && value <= high) return {};
    if (high == std::numeric_limits<int64_t>::max()) {
      return str("'", text, "' is not allowed: give a whole number, ", low, " or more");
    }
    return str("'", text, "' is not allowed: give a whole number from ", low, " to ", high);
  };
  return {check, ""};
}

CLI::Validator number(double low, double high, Ends ends) {
  const auto check = [low, high, ends](std::string& text) -> std::string {
    double value = 0;
    const bool good = parse_number(text, value) && std::isfinite(value) && value <= high &&
                      (ends == Ends::closed ? value >= low : value > low);
    if (good) return {};
    std::string allowed = "give a number";
    if (std::isfinite(low)) allowed += ends == Ends::closed ? str(", ", low, " or more") : str(" above ", low);
    if (std::isfinite(high)) allowed += str(std::isfinite(low) ? " and " : ", ", "at most ", high);
    return str("'", text, "' is not allowed: ", allowed);
  };
  return {check, ""};
}

CLI::Validator one_of(std::vector<std::string> choices) {
  const auto check = [choices = std::move(choices)](std::string& text) -> std::string {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
    return str("'", text, "' is not known: choose one of ", joined(choices));
  };
  return {check, ""};
}

std::vector<int64_t> parse_ids(std::string_view text, std::string_view flag) {
  std::string body = trimmed(text);
  if (body.size() >= 2 && body.front() == '[' && body.back() == ']') body = trimmed(body.substr(1, body.size() - 2));
  std::vector<int64_t> ids;
  for (size_t begin = 0; begin <= body.size() && !body.empty();) {
    const size_t end = std::min(body.find(',', begin), body.size());
    const std::string word = trimmed(std::string_view(body).substr(begin, end - begin));
    int64_t id = 0;
    if (!parse_number(word, id) || id < 0) {
      fail(ErrorCode::invalid_argument, flag, ": '", word, "' is not a token id; give whole numbers like 1,2,3");
    }
    ids.push_back(id);
    begin = end + 1;
  }
  return ids;
}

uint64_t parse_size(std::string_view text, std::string_view flag) {
  const std::string body = trimmed(text);
  const size_t digits = std::min(body.find_first_not_of("0123456789."), body.size());
  double value = 0;
  double factor = 0;
  const std::string unit = trimmed(std::string_view(body).substr(digits));
  if (unit.empty() || unit == "B") factor = 1;
  if (unit == "kB" || unit == "KB") factor = 1e3;
  if (unit == "MB") factor = 1e6;
  if (unit == "GB") factor = 1e9;
  const bool good = parse_number(std::string_view(body).substr(0, digits), value) && factor > 0;
  if (!good || value * factor < 1 || value * factor > 9e18) {
    fail(ErrorCode::invalid_argument, flag, ": '", body, "' is not a size; give one like 5GB, 200MB or 1000000");
  }
  return static_cast<uint64_t>(value * factor);
}

BambaConfig shape_config(const std::string& name) {
  BambaConfig config;
  if (name == "bamba-9b") {  // config.json of the published Bamba-9B-v2
    config.vocab_size = 128256;
    config.attn_layer_indices = {9, 18, 27};
    config.mamba_d_state = 128;
    config.bos_token_id = 128000;
    config.eos_token_id = {128001};
    config.dtype = DType::bf16;
  } else if (name == "demo") {  // about the size of the demo model
    config.vocab_size = 4096;
    config.hidden_size = 256;
    config.intermediate_size = 768;
    config.num_hidden_layers = 6;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.attn_layer_indices = {3};
    config.mamba_n_heads = 8;
    config.mamba_d_head = 64;
    config.mamba_d_state = 64;
    config.mamba_chunk_size = 64;
    config.tie_word_embeddings = true;
    config.dtype = DType::bf16;
  } else if (name == "tiny") {  // for tests: every kind of layer, instantly
    config.vocab_size = 256;
    config.hidden_size = 64;
    config.intermediate_size = 128;
    config.num_hidden_layers = 3;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.attn_layer_indices = {1};
    config.mamba_n_heads = 8;
    config.mamba_d_head = 16;
    config.mamba_d_state = 16;
    config.mamba_chunk_size = 16;
    config.dtype = DType::f32;
  } else {
    fail(ErrorCode::invalid_argument, "--shape: '", name, "' is not known: choose one of ", joined(shape_names()));
  }
  config.validate();
  return config;
}

std::vector<std::string> shape_names() {
  return {"bamba-9b", "demo", "tiny"};
}

}  // namespace bamba::cli
