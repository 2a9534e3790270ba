// The ragged forward: checks a batch, cuts it into passes of bounded size, and collects the outputs.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/str.h"
#include "base/warning.h"
#include "model/model_impl.h"

namespace bamba {
namespace {

using backend::Matrix;

/// Logits are computed for this many rows at a time: 128 rows of a 128k vocabulary are 66 MB.
constexpr int64_t kLogitRows = 128;
/// Past 2^24 an f32 no longer tells neighbouring positions apart, so no angle would mean anything.
constexpr int64_t kMaxPosition = int64_t{1} << 24;

void check_request(const BambaModel::Impl& model, const SequenceRequest& request, size_t index) {
  const auto reject = [&](const auto&... parts) {
    fail(ErrorCode::invalid_argument, "sequence ", index, " of the batch: ", parts...);
  };
  if (request.state == nullptr || request.state->context != model.context) {
    reject("its state is ", request.state == nullptr ? "missing" : "another model's", "; new_state() makes one");
  }
  if (request.tokens <= 0) reject("it has no new tokens; at least one is needed");
  if (request.embeds == nullptr) {
    const int64_t vocab = model.config.vocab_size;
    for (size_t t = 0; t < request.input_ids.size(); ++t) {
      const int64_t id = request.input_ids[t];
      if (id < 0 || id >= vocab) reject("token ", t, " has the id ", id, "; ids are 0 to ", vocab - 1);
    }
  }
  if (!request.position_ids.empty() && static_cast<int64_t>(request.position_ids.size()) != request.tokens) {
    reject("it has ", request.position_ids.size(), " position_ids for ", request.tokens, " tokens");
  }
  for (const int64_t position : request.position_ids) {
    if (position < 0 || position >= kMaxPosition) {
      reject("a position id is ", position, "; it must be between 0 and ", kMaxPosition - 1);
    }
  }
  if (request.state->length + request.tokens > kMaxPosition) {
    reject("it would have ", request.state->length + request.tokens, " tokens; at most ", kMaxPosition,
           " can be told apart");
  }
}

/// Warns once for each model, when a first sequence grows past what the model was made for.
void warn_past_context(BambaModel::Impl& model, const SequenceRequest& request) {
  const int64_t length = request.state->length + request.tokens;
  const int64_t limit = model.config.max_position_embeddings;
  if (model.warned_past_context || length <= limit) return;
  model.warned_past_context = true;
  warn("a sequence grows to ", length, " tokens, past the model's max_position_embeddings of ", limit,
       "; what the model writes may get worse");
}

bool is_kept(const SequenceRequest& request, int64_t token) {
  if (!request.kept.empty()) return std::binary_search(request.kept.begin(), request.kept.end(), token);
  if (request.logits == LogitsToKeep::all) return true;
  return request.logits == LogitsToKeep::last && token == request.tokens - 1;
}

int64_t kept_count(const SequenceRequest& request) {
  if (!request.kept.empty()) return static_cast<int64_t>(request.kept.size());
  return request.logits == LogitsToKeep::all ? request.tokens : request.logits == LogitsToKeep::last ? 1 : 0;
}

/// Keeps the old tensor's memory when it has the right shape: that is what a caller passes an output again for.
void reuse_or_make(Tensor& tensor, Shape shape) {
  if (tensor && tensor.dtype() == DType::f32 && tensor.shape() == shape) return;
  tensor = Tensor::empty(DType::f32, std::move(shape));
}

void check_draw(const TokenDraw& draw, size_t index) {
  const auto reject = [&](std::string_view what, double value, std::string_view accepted) {
    fail(ErrorCode::invalid_argument, "draw ", index, " of the batch: ", what, " is ", value, "; it must be ",
         accepted);
  };
  constexpr double kLeastTemperature = 1e-6;
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  if (!(draw.uniform >= 0 && draw.uniform < 1)) reject("uniform", draw.uniform, "in [0, 1)");
  const bool warm = draw.temperature >= kLeastTemperature && std::isfinite(draw.temperature);
  if (!warm && draw.temperature != 0) reject("temperature", draw.temperature, "0, or finite and at least 1e-6");
  if (draw.top_k < 0) reject("top_k", static_cast<double>(draw.top_k), "at least 0");
  if (!is_share(draw.top_p)) reject("top_p", draw.top_p, "in [0, 1]");
  if (draw.min_p && !is_share(*draw.min_p)) reject("min_p", *draw.min_p, "in [0, 1]");
}

class RaggedForward {
 public:
  RaggedForward(BambaModel::Impl& model, std::span<const SequenceRequest> requests, const RaggedOptions& options,
                RaggedOutput& output)
      : model_(model), requests_(requests), options_(options), output_(output) {}

  void run() {
    check();
    for (const SequenceRequest& request : requests_) request.state->prepare(request.tokens);
    make_outputs();
    size_t sequence = 0;
    int64_t token = 0;
    int64_t row = 0;  // of the whole call
    while (sequence < requests_.size()) {
      const int64_t rows = next_pass(sequence, token);
      run_pass(row);
      row += rows;
    }
  }

 private:
  void check() const {
    auto& states = model_.workspace.batch_states;
    states.clear();
    for (size_t i = 0; i < requests_.size(); ++i) {
      check_request(model_, requests_[i], i);
      states.push_back(requests_[i].state);
    }
    std::sort(states.begin(), states.end());
    if (std::adjacent_find(states.begin(), states.end()) != states.end()) {
      fail(ErrorCode::invalid_argument, "two sequences of the batch use the same state; fork() makes another");
    }
    check_draws();
    for (const SequenceRequest& request : requests_) warn_past_context(model_, request);
  }

  void check_draws() const {
    if (options_.draws.empty()) return;
    if (!model_.device->draws_tokens()) {
      fail(ErrorCode::unsupported, "the device \"", model_.device->name(),
           "\" draws no tokens; take the logits and draw from them");
    }
    if (options_.best_ids_only) {
      fail(ErrorCode::invalid_argument,
           "best_ids_only and draws are both given; a draw of temperature 0 is the best id");
    }
    int64_t kept = 0;
    for (const SequenceRequest& request : requests_) kept += kept_count(request);
    if (std::ssize(options_.draws) != kept) {
      fail(ErrorCode::invalid_argument, "there are ", options_.draws.size(), " draws for ", kept,
           " kept tokens; give one for each");
    }
    for (size_t i = 0; i < options_.draws.size(); ++i) check_draw(options_.draws[i], i);
  }

  void make_outputs() {
    int64_t tokens = 0;
    int64_t kept = 0;
    for (const SequenceRequest& request : requests_) {
      tokens += request.tokens;
      kept += kept_count(request);
    }
    const int64_t hidden = model_.config.hidden_size;
    output_.best_ids.resize(options_.best_ids_only ? static_cast<size_t>(kept) : 0);
    output_.drawn_ids.resize(options_.draws.size());
    if (kept > 0 && !options_.best_ids_only && options_.draws.empty()) {
      reuse_or_make(output_.logits, {kept, model_.config.vocab_size});
    } else {
      output_.logits = Tensor();
    }
    output_.last_hidden_state = Tensor();
    if (options_.output_last_hidden_state || options_.output_hidden_states) {
      output_.last_hidden_state = Tensor::empty(DType::f32, {tokens, hidden});
    }
    output_.hidden_states.clear();
    if (options_.output_hidden_states) {
      for (int64_t i = 0; i < model_.config.num_hidden_layers; ++i) {
        output_.hidden_states.push_back(Tensor::empty(DType::f32, {tokens, hidden}));
      }
      output_.hidden_states.push_back(output_.last_hidden_state);
    }
    output_.attentions.clear();
    if (options_.output_attentions) {
      for (size_t layer = 0; layer < model_.context->attention_layers; ++layer) {
        auto& of_layer = output_.attentions.emplace_back();
        for (const SequenceRequest& request : requests_) {
          of_layer.push_back(Tensor::zeros(
              DType::f32, {model_.config.num_attention_heads, request.tokens, request.state->length + request.tokens}));
        }
      }
    }
  }

  /// Fills the pass's lists from (sequence, token) on and moves them behind it; returns its number of rows.
  int64_t next_pass(size_t& sequence, int64_t& token) {
    sequences_.clear();
    ids_.clear();
    positions_.clear();
    embeds_.clear();
    kept_rows_.clear();
    const int64_t limit = model_.pass_tokens;
    int64_t rows = 0;
    while (sequence < requests_.size() && rows < limit) {
      const SequenceRequest& request = requests_[sequence];
      const int64_t start = request.state->length;  // advanced pass by pass
      const int64_t count = piece(request.tokens - token, limit - rows, start, rows == 0);
      if (count == 0) break;
      sequences_.push_back({request.state, {rows, count, start}, sequence, token});
      for (int64_t t = token; t < token + count; ++t) add_row(request, t, start + t - token);
      rows += count;
      token += count;
      if (token == request.tokens) {
        ++sequence;
        token = 0;
      } else {
        break;  // the pass is full, or its next chunk does not fit
      }
    }
    return rows;
  }

  /// How many of `left` tokens fit in `room` rows. The chunked scan is cut at chunk boundaries only, where cutting
  /// does not change its sums.
  int64_t piece(int64_t left, int64_t room, int64_t start, bool first) const {
    const int64_t count = std::min(left, room);
    if (model_.scan == ScanForm::recurrent || count == left) return count;
    const int64_t chunk = model_.config.mamba_chunk_size;
    const int64_t end = (start + count) / chunk * chunk;
    if (end > start) return end - start;
    return first ? std::min(left, chunk - start % chunk) : 0;
  }

  void add_row(const SequenceRequest& request, int64_t t, int64_t default_position) {
    const auto i = static_cast<size_t>(t);
    if (is_kept(request, t)) kept_rows_.push_back(static_cast<int64_t>(ids_.size()));
    positions_.push_back(request.position_ids.empty() ? default_position : request.position_ids[i]);
    if (request.embeds == nullptr) {
      ids_.push_back(static_cast<int32_t>(request.input_ids[i]));
      return;
    }
    // Rows of ids in front of the first embedding need no memory but a place.
    const auto width = static_cast<size_t>(model_.config.hidden_size);
    embeds_.resize(ids_.size() * width);
    const float* source = request.embeds + i * width;
    embeds_.insert(embeds_.end(), source, source + width);
    ids_.push_back(-1);
  }

  void run_pass(int64_t first_row) {
    PassInput input;
    input.sequences = sequences_;
    input.ids = ids_;
    input.embeds = embeds_.data();
    input.positions = positions_;
    input.scan = model_.scan;
    PassOutputs outputs;
    if (options_.output_hidden_states) {
      outputs.hidden = [&](int64_t stage, const Matrix& hidden) {
        download(hidden, output_.hidden_states[static_cast<size_t>(stage)], first_row);
      };
    }
    if (options_.output_attentions) {
      outputs.queries = [&](size_t layer, const Matrix& queries) { download_attentions(layer, queries); };
    }
    const Matrix hidden =
        run_layers(model_.config, model_.weights, model_.rope, *model_.device, model_.workspace, input, outputs);
    if (output_.last_hidden_state) {
      const Matrix normed = model_.workspace.matrix(Workspace::normed, hidden.rows, hidden.cols);
      final_norm(hidden, normed);
      download(normed, output_.last_hidden_state, first_row);
    }
    compute_logits(hidden);
  }

  void final_norm(Matrix in, Matrix out) {
    model_.device->rms_norm(in, model_.weights.final_norm.floats(), static_cast<float>(model_.config.rms_norm_eps),
                            out);
  }

  void download(const Matrix& source, Tensor& target, int64_t first_row) {
    model_.device->download_rows(source, target.data<float>().data() + first_row * source.cols, source.cols);
  }

  void download_attentions(size_t layer, const Matrix& queries) {
    for (const PassSequence& sequence : sequences_) {
      Tensor& target = output_.attentions[layer][sequence.index];
      const int64_t row = target.dim(2);
      model_.device->attention_weights(
          queries, sequence.rows, sequence.state->attention[layer].page_pointers.data(), model_.context->attention,
          target.data<float>().data() + sequence.first_token * row, target.dim(1) * row, row);
    }
  }

  void compute_logits(const Matrix& hidden) {
    const int64_t vocab = model_.config.vocab_size;
    for (size_t first = 0; first < kept_rows_.size(); first += kLogitRows) {
      const size_t count = std::min<size_t>(kLogitRows, kept_rows_.size() - first);
      const Matrix kept = model_.workspace.matrix(Workspace::kept, static_cast<int64_t>(count), hidden.cols);
      for (size_t i = 0; i < count;) {
        // A run of neighbours at a time: a batch of decoding sequences is one.
        size_t end = i + 1;
        while (end < count && kept_rows_[first + end] == kept_rows_[first + end - 1] + 1) ++end;
        const auto rows = static_cast<int64_t>(end - i);
        final_norm(hidden.below(kept_rows_[first + i], rows), kept.below(static_cast<int64_t>(i), rows));
        i = end;
      }
      const Matrix logits = model_.workspace.matrix(Workspace::logits, kept.rows, vocab);
      model_.device->linear(kept, model_.weights.head(), nullptr, false, logits);
      const auto done = static_cast<size_t>(logits_done_);
      if (options_.best_ids_only) {
        model_.device->best_columns(logits, std::span(output_.best_ids).subspan(done, count));
      } else if (!options_.draws.empty()) {
        model_.device->draw_columns(logits, options_.draws.subspan(done, count),
                                    std::span(output_.drawn_ids).subspan(done, count));
      } else {
        model_.device->download_rows(logits, output_.logits.data<float>().data() + logits_done_ * vocab, vocab);
      }
      logits_done_ += kept.rows;
    }
  }

  BambaModel::Impl& model_;
  std::span<const SequenceRequest> requests_;
  const RaggedOptions& options_;
  RaggedOutput& output_;
  int64_t logits_done_ = 0;

  // The pass's rows, in the workspace's memory.
  std::vector<PassSequence>& sequences_ = model_.workspace.sequences;
  std::vector<int32_t>& ids_ = model_.workspace.ids;
  std::vector<int64_t>& positions_ = model_.workspace.positions;
  std::vector<float>& embeds_ = model_.workspace.embeds;
  std::vector<int64_t>& kept_rows_ = model_.workspace.kept_rows;
};

}  // namespace

SequenceRequest to_request(const SequenceInput& input, size_t index) {
  SequenceRequest request;
  request.state = input.state != nullptr && *input.state ? &input.state->impl() : nullptr;
  request.position_ids = input.position_ids;
  request.logits = input.logits;
  if (!input.inputs_embeds) {
    request.input_ids = input.input_ids;
    request.tokens = static_cast<int64_t>(input.input_ids.size());
    return request;
  }
  if (!input.input_ids.empty()) {
    fail(ErrorCode::invalid_argument, "sequence ", index, " of the batch has both input_ids and inputs_embeds");
  }
  if (input.inputs_embeds.rank() != 2 || input.inputs_embeds.dtype() != DType::f32) {
    fail(ErrorCode::invalid_argument, "sequence ", index, " of the batch: inputs_embeds is ",
         input.inputs_embeds.describe(), "; it must be F32 [tokens, hidden_size]");
  }
  request.tokens = input.inputs_embeds.dim(0);
  request.embeds = input.inputs_embeds.data<float>().data();
  return request;
}

void BambaModel::Impl::forward(std::span<const SequenceRequest> requests, const RaggedOptions& ragged_options,
                               RaggedOutput& output) {
  const std::lock_guard lock(mutex);
  RaggedForward(*this, requests, ragged_options, output).run();
  if (options.profile != nullptr) device->finish();  // it is read between forwards: this one shall be in it
}

}  // namespace bamba
