#include "cli/evaluator.h"

#include <algorithm>
#include <utility>

#include "base/str.h"
#include "cli/interrupt.h"
#include "model/loss.h"

namespace bamba::cli {
namespace {

// Rows of logits at a time: 64 rows of a 128k vocabulary are 33 MB.
constexpr int64_t kLogitRows = 64;
constexpr int64_t kContextRows = 512;

size_t likeliest(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

Evaluator::Evaluator(const BambaForCausalLM& model, const BambaForCausalLM* reference, std::vector<int64_t> ids,
                     int64_t context, int64_t stride)
    : ids_(std::move(ids)), scored_(ids_.size(), false) {
  context_ = context == 0 ? static_cast<int64_t>(ids_.size()) : context;
  if (context_ < 2) {
    fail(ErrorCode::invalid_argument, "--context: ", context_,
         " leaves no token to predict; give 2 or more, or 0 for the whole text in one window");
  }
  stride_ = stride == 0 ? std::max<int64_t>(1, context_ / 2) : stride;
  if (stride_ > context_) {
    fail(ErrorCode::invalid_argument, "--stride: ", stride_, " is larger than --context ", context_,
         "; tokens in between would go unscored");
  }
  readers_.emplace_back().model = &model;
  if (reference == nullptr) return;
  if (model.config().vocab_size != reference->config().vocab_size) {
    fail(ErrorCode::invalid_argument, "--against: the reference has a vocabulary of ", reference->config().vocab_size,
         " and the model one of ", model.config().vocab_size, "; only models of one vocabulary can be compared");
  }
  readers_.emplace_back().model = reference;
}

EvalTotals Evaluator::run() {
  const auto length = static_cast<int64_t>(ids_.size());
  int64_t scored_end = 0;
  for (int64_t begin = 0; scored_end < length; begin += stride_) {
    const int64_t end = std::min(begin + context_, length);
    window(begin, std::max(begin + 1, scored_end), end);
    scored_end = end;
  }
  bar_.clear();
  return totals_;
}

/// Scores tokens [first, end) given those from `begin` on.
void Evaluator::window(int64_t begin, int64_t first, int64_t end) {
  for (Reader& reader : readers_) reader.state = reader.model->new_state();
  // The logits after token t score token t + 1.
  int64_t at = begin;
  while (at < first - 1) at = feed(at, std::min(at + kContextRows, first - 1), LogitsToKeep::none);
  while (at < end - 1) {
    const int64_t next = feed(at, std::min(at + kLogitRows, end - 1), LogitsToKeep::all);
    score(at, next);
    at = next;
    bar_.update("evaluating", static_cast<uint64_t>(at), ids_.size());
  }
}

int64_t Evaluator::feed(int64_t begin, int64_t end, LogitsToKeep logits) {
  for (Reader& reader : readers_) {
    throw_if_interrupted();
    SequenceInput input;
    input.state = &reader.state;
    input.input_ids = std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    input.logits = logits;
    reader.model->forward({&input, 1}, {}, reader.output);
  }
  return end;
}

/// Tokens begin + 1 to end, from the logits after tokens [begin, end).
void Evaluator::score(int64_t begin, int64_t end) {
  const auto row_of = [&](const Reader& reader, int64_t t) {
    const auto vocab = static_cast<size_t>(reader.output.logits.dim(1));
    return std::as_const(reader.output.logits).data<float>().subspan(static_cast<size_t>(t - begin) * vocab, vocab);
  };
  for (int64_t t = begin; t < end; ++t) {
    const auto target = static_cast<size_t>(t + 1);
    const auto id = static_cast<size_t>(ids_[target]);
    const auto row = row_of(readers_[0], t);
    totals_.nll += log_sum_exp(row) - row[id];
    totals_.scored_tokens += 1;
    scored_[target] = true;
    if (readers_.size() < 2) continue;
    const auto reference = row_of(readers_[1], t);
    totals_.reference_nll += log_sum_exp(reference) - reference[id];
    const double divergence = kl_divergence(reference, row);
    totals_.divergence += divergence;
    totals_.largest_divergence = std::max(totals_.largest_divergence, divergence);
    if (likeliest(reference) == likeliest(row)) ++totals_.agreed;
  }
}

}  // namespace bamba::cli
