// Scores a text with a model, window by window, and beside it with a reference model.
//
// The windows are those of Transformers' guide "Perplexity of fixed-length models": windows of `context` tokens, each
// `stride` further; a window scores the tokens that no earlier window scored, the rest of it is context.
#pragma once

#include <bamba/model.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cli/terminal.h"

namespace bamba::cli {

/// Sums over the scored tokens, in nats.
struct EvalTotals {
  int64_t scored_tokens = 0;
  double nll = 0;
  // With a reference only:
  double reference_nll = 0;
  double divergence = 0;          ///< of reference || model
  double largest_divergence = 0;  ///< of one token
  int64_t agreed = 0;             ///< tokens whose likeliest id is the same
};

class Evaluator {
 public:
  /// context 0: the whole text in one window; stride 0: half of the context. `reference` may be null. Throws
  /// Error(invalid_argument) for windows that leave tokens unscored and for models of different vocabularies.
  Evaluator(const BambaForCausalLM& model, const BambaForCausalLM* reference, std::vector<int64_t> ids, int64_t context,
            int64_t stride);

  EvalTotals run();
  /// Which ids were scored.
  const std::vector<bool>& scored() const { return scored_; }

 private:
  struct Reader {
    const BambaForCausalLM* model = nullptr;
    SequenceState state;
    RaggedOutput output;
  };

  void window(int64_t begin, int64_t first, int64_t end);
  int64_t feed(int64_t begin, int64_t end, LogitsToKeep logits);
  void score(int64_t begin, int64_t end);

  std::vector<Reader> readers_;  ///< the model, and the reference if there is one
  std::vector<int64_t> ids_;
  int64_t context_;
  int64_t stride_;
  std::vector<bool> scored_;
  EvalTotals totals_;
  ProgressBar bar_{ProgressBar::Unit::count};
};

}  // namespace bamba::cli
