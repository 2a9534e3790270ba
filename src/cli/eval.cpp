// bamba eval: perplexity and bits per byte of a text, and how far a model has moved from its parent.
#include <bamba/model.h>

#include <cmath>
#include <memory>
#include <optional>

#include "base/file.h"
#include "base/str.h"
#include "cli/commands.h"
#include "cli/evaluator.h"
#include "cli/flags.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 31;

struct EvalFlags {
  ModelFlags model;
  std::string text, against;
  int64_t context = 2048, stride = 0;
  bool json = false;
};

/// The reference as it is stored; everything else as the model under test.
ModelFlags reference_flags(const EvalFlags& flags) {
  ModelFlags reference = flags.model;
  reference.model = flags.against;
  reference.weights.clear();
  return reference;
}

/// The text's ids must mean the same to both.
void check_same_ids(const EvalFlags& flags, const std::string& text, const std::vector<int64_t>& ids) {
  const std::optional<Tokenizer> tokenizer = load_tokenizer(reference_flags(flags));
  if (!tokenizer || tokenizer->encode(text) == ids) return;
  fail(ErrorCode::invalid_argument, "--against: the tokenizer of ", flags.against, " gives other ids for ", flags.text,
       " than that of ", model_directory(flags.model).string(), "; only models of one tokenizer can be compared");
}

/// Bytes of the text that scored tokens stand for. Offsets count characters; each ends where the next token's begins.
int64_t scored_bytes(const std::string& text, const Encoding& encoding, const std::vector<bool>& scored) {
  std::vector<size_t> starts;  // byte at which each character begins
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  // Several tokens may share a character: it counts where it is first covered.
  int64_t bytes = 0;
  size_t covered = 0;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto end = std::min(static_cast<size_t>(encoding.offsets[i].second), starts.size() - 1);
    if (end <= covered) continue;
    if (scored[i]) bytes += static_cast<int64_t>(starts[end] - starts[covered]);
    covered = end;
  }
  return bytes;
}

ExitCode run_eval(const EvalFlags& flags) {
  const Tokenizer tokenizer = require_tokenizer(flags.model, "bamba eval");
  const std::string text = flags.text == "-" ? read_stdin("text", kMaxTextBytes) : read_file(flags.text, kMaxTextBytes);
  const Encoding encoding = tokenizer.encode_with_offsets(text);
  if (encoding.ids.size() < 2) {
    fail(ErrorCode::invalid_argument, "--text: ", flags.text, " holds ", encoding.ids.size(),
         " tokens; at least 2 are needed to predict one");
  }
  const bool compares = !flags.against.empty();
  if (compares) check_same_ids(flags, text, encoding.ids);
  const BambaForCausalLM model = load_model(flags.model);
  std::optional<BambaForCausalLM> reference;
  if (compares) reference.emplace(load_model(reference_flags(flags)));
  Evaluator evaluator(model, reference ? &*reference : nullptr, encoding.ids, flags.context, flags.stride);
  const EvalTotals totals = evaluator.run();
  const int64_t bytes = scored_bytes(text, encoding, evaluator.scored());
  const auto scored = static_cast<double>(totals.scored_tokens);
  const double loss = totals.nll / scored;
  const double reference_loss = totals.reference_nll / scored;
  if (!std::isfinite(loss)) fail(ErrorCode::non_finite, "the loss is not finite: the model's numbers are broken");
  if (!std::isfinite(reference_loss)) {
    fail(ErrorCode::non_finite, "--against: the reference's loss is not finite: its numbers are broken");
  }
  const double bits_per_byte = bytes > 0 ? totals.nll / std::log(2.0) / static_cast<double>(bytes) : 0;

  Output out;
  if (flags.json) {
    Json line;
    line["perplexity"] = std::exp(loss);
    line["loss"] = loss;
    line["bits_per_byte"] = bits_per_byte;
    line["tokens"] = encoding.ids.size();
    line["scored_tokens"] = totals.scored_tokens;
    line["bytes"] = bytes;
    if (compares) {
      line["reference_perplexity"] = std::exp(reference_loss);
      line["reference_loss"] = reference_loss;
      line["kl_divergence"] = totals.divergence / scored;
      line["largest_kl_divergence"] = totals.largest_divergence;
      line["top1_agreement"] = static_cast<double>(totals.agreed) / scored;
    }
    out.line(json_line(line));
  } else {
    out.line(str("perplexity     ", short_number(std::exp(loss))));
    out.line(str("loss           ", short_number(loss), " nats a token"));
    out.line(str("bits per byte  ", short_number(bits_per_byte)));
    out.line(str("scored         ", with_thousands(totals.scored_tokens), " of ",
                 with_thousands(static_cast<int64_t>(encoding.ids.size())), " tokens, ", with_thousands(bytes),
                 " bytes"));
    if (compares) {
      out.line(str("reference      perplexity ", short_number(std::exp(reference_loss)), ", loss ",
                   short_number(reference_loss)));
      out.line(str("KL divergence  ", short_number(totals.divergence / scored), " nats a token (largest ",
                   short_number(totals.largest_divergence), ")"));
      out.line(str("same top token ", short_number(100 * static_cast<double>(totals.agreed) / scored), " %"));
    }
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_eval(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App& command = *program.add_subcommand(
      "eval", "Measure perplexity and bits per byte of a text, or the distance from another model");
  add_model_flag(command, flags->model);
  command.add_option("--text", flags->text, "The text; - for stdin")->type_name("FILE")->required();
  command
      .add_option("--against", flags->against,
                  "A reference model, say the bf16 parent of a quantized one: adds the KL divergence from it and how "
                  "often both find the same token likeliest")
      ->check([](const std::string& value) { return std::string(value.empty() ? "it is empty; name a folder" : ""); })
      ->type_name("DIR");
  command.add_option("--context", flags->context, "Tokens of a window (default 2048; 0: the whole text in one)")
      ->type_name("N")
      ->check(CLI::Validator(whole_number(0)));
  command.add_option("--stride", flags->stride, "Tokens from window to window (default 0: half of --context)")
      ->type_name("N")
      ->check(whole_number(0));
  command.add_flag("--json", flags->json, "One JSON object");
  add_run_flags(command, flags->model);
  command.footer(
      "Every token but the first is scored once (the first of each window too is not, where windows do not "
      "overlap).\n\n"
      "Examples:\n"
      "  bamba eval --text story.txt\n"
      "  bamba eval -m DIR --text wiki.test.raw --context 4096 --stride 512 --json\n"
      "  bamba eval -m quantized --against original --text story.txt");
  command.callback([flags, &chosen] { chosen = [flags] { return run_eval(*flags); }; });
}

}  // namespace bamba::cli
