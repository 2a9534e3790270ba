// bamba eval: perplexity and bits per byte of a text.
//
// The windows are those of Transformers' guide "Perplexity of fixed-length models": windows of --context tokens, each
// --stride further; a window scores the tokens that no earlier window scored, the rest of it is context.
#include <bamba/model.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/file.h"
#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "model/loss.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 31;
// Rows of logits at a time: 64 rows of a 128k vocabulary are 33 MB.
constexpr int64_t kLogitRows = 64;
constexpr int64_t kContextRows = 512;

struct EvalFlags {
  ModelFlags model;
  std::string text;
  int64_t context = 2048, stride = 0;
  bool json = false;
};

struct Totals {
  double nll = 0;  // nats
  int64_t scored_tokens = 0;
};

class Evaluator {
 public:
  Evaluator(const EvalFlags& flags, const BambaForCausalLM& model, std::vector<int64_t> ids)
      : flags_(flags), model_(model), ids_(std::move(ids)), scored_(ids_.size(), false) {}

  Totals run() {
    const auto length = static_cast<int64_t>(ids_.size());
    const int64_t context = flags_.context == 0 ? length : flags_.context;
    if (context < 2) {
      fail(ErrorCode::invalid_argument, "--context: ", context,
           " leaves no token to predict; give 2 or more, or 0 for the whole text in one window");
    }
    const int64_t stride = flags_.stride == 0 ? std::max<int64_t>(1, context / 2) : flags_.stride;
    if (stride > context) {
      fail(ErrorCode::invalid_argument, "--stride: ", stride, " is larger than --context ", context,
           "; tokens in between would go unscored");
    }
    int64_t scored_end = 0;
    for (int64_t begin = 0; scored_end < length; begin += stride) {
      const int64_t end = std::min(begin + context, length);
      window(begin, std::max(begin + 1, scored_end), end);
      scored_end = end;
    }
    bar_.clear();
    return totals_;
  }

  const std::vector<bool>& scored() const { return scored_; }

 private:
  /// Scores tokens [first, end) given those from `begin` on.
  void window(int64_t begin, int64_t first, int64_t end) {
    SequenceState state = model_.new_state();
    // The logits after token t score token t + 1.
    int64_t at = begin;
    while (at < first - 1) at = feed(state, at, std::min(at + kContextRows, first - 1), LogitsToKeep::none);
    while (at < end - 1) {
      const int64_t next = feed(state, at, std::min(at + kLogitRows, end - 1), LogitsToKeep::all);
      const auto vocab = static_cast<size_t>(output_.logits.dim(1));
      const std::span<const float> logits = std::as_const(output_.logits).data<float>();
      for (int64_t t = at; t < next; ++t) {
        const auto target = static_cast<size_t>(t + 1);
        const auto row = logits.subspan(static_cast<size_t>(t - at) * vocab, vocab);
        totals_.nll += log_sum_exp(row) - row[static_cast<size_t>(ids_[target])];
        totals_.scored_tokens += 1;
        scored_[target] = true;
      }
      at = next;
      bar_.update("evaluating", static_cast<uint64_t>(at), ids_.size());
    }
  }

  int64_t feed(SequenceState& state, int64_t begin, int64_t end, LogitsToKeep logits) {
    throw_if_interrupted();
    SequenceInput input;
    input.state = &state;
    input.input_ids = std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    input.logits = logits;
    model_.forward({&input, 1}, {}, output_);
    return end;
  }

  const EvalFlags& flags_;
  const BambaForCausalLM& model_;
  std::vector<int64_t> ids_;
  std::vector<bool> scored_;
  RaggedOutput output_;
  Totals totals_;
  ProgressBar bar_{ProgressBar::Unit::count};
};

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
  const BambaForCausalLM model = load_model(flags.model);
  Evaluator evaluator(flags, model, encoding.ids);
  const Totals totals = evaluator.run();
  const int64_t bytes = scored_bytes(text, encoding, evaluator.scored());
  const double loss = totals.nll / static_cast<double>(totals.scored_tokens);
  if (!std::isfinite(loss)) fail(ErrorCode::non_finite, "the loss is not finite: the model's numbers are broken");
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
    out.line(json_line(line));
  } else {
    out.line(str("perplexity     ", short_number(std::exp(loss))));
    out.line(str("loss           ", short_number(loss), " nats a token"));
    out.line(str("bits per byte  ", short_number(bits_per_byte)));
    out.line(str("scored         ", with_thousands(totals.scored_tokens), " of ",
                 with_thousands(static_cast<int64_t>(encoding.ids.size())), " tokens, ", with_thousands(bytes),
                 " bytes"));
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_eval(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App& command = *program.add_subcommand("eval", "Measure perplexity and bits per byte of a text");
  add_model_flag(command, flags->model);
  command.add_option("--text", flags->text, "The text; - for stdin")->type_name("FILE")->required();
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
      "  bamba eval -m DIR --text wiki.test.raw --context 4096 --stride 512 --json");
  command.callback([flags, &chosen] { chosen = [flags] { return run_eval(*flags); }; });
}

}  // namespace bamba::cli
