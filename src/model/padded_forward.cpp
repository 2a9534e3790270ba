// Transformers' forward as an adapter: takes the real tokens out of the padded batch, runs them, and puts the results
// back in their columns.
#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "model/loss.h"
#include "model/model_impl.h"

namespace bamba {
namespace {

/// The batch without its padding.
struct Unpadded {
  struct Row {
    std::vector<int64_t> columns;    ///< of the real tokens, rising
    std::vector<int64_t> ids;        ///< or:
    std::vector<float> embeds;       ///< [tokens, hidden]
    std::vector<int64_t> positions;  ///< empty: continue the state
    std::vector<int64_t> kept;       ///< tokens whose logits are wanted
  };
  int64_t batch = 0;
  int64_t seq = 0;
  std::vector<Row> rows;
};

class PaddedForward {
 public:
  PaddedForward(BambaModel::Impl& model, const ForwardInputs& inputs, bool with_head)
      : model_(model), in_(inputs), with_head_(with_head) {
    read_shape();
    prepare_cache();
    for (int64_t b = 0; b < un_.batch; ++b) un_.rows.push_back(read_row(b));
    if (with_head_) choose_logits();
  }

  CausalLMOutputWithPast run(Tensor* last_hidden_state) {
    RaggedOptions options;
    options.output_last_hidden_state = last_hidden_state != nullptr;
    options.output_hidden_states = in_.output_hidden_states;
    options.output_attentions = in_.output_attentions;
    RaggedOutput ragged;
    const std::vector<SequenceRequest> requests = make_requests();
    model_.forward(requests, options, ragged);

    CausalLMOutputWithPast out;
    if (last_hidden_state != nullptr) *last_hidden_state = pad_rows(ragged.last_hidden_state);
    for (const Tensor& hidden : ragged.hidden_states) out.hidden_states.push_back(pad_rows(hidden));
    for (const auto& of_layer : ragged.attentions) out.attentions.push_back(pad_attentions(of_layer));
    if (with_head_) {
      out.logits = pad_logits(ragged.logits);
      if (in_.labels) out.loss = loss(out.logits);
    }
    cache_->set_seq_length(past_columns_ + un_.seq);
    if (keep_cache_) out.past_key_values = cache_;
    return out;
  }

 private:
  template <typename... Parts>
  [[noreturn]] static void reject(const Parts&... parts) {
    fail(ErrorCode::invalid_argument, parts...);
  }

  void read_shape() {
    if (static_cast<bool>(in_.input_ids) == static_cast<bool>(in_.inputs_embeds)) {
      reject("exactly one of input_ids and inputs_embeds must be given");
    }
    const Tensor& given = in_.input_ids ? in_.input_ids : in_.inputs_embeds;
    if (in_.input_ids && (given.rank() != 2 || given.dtype() != DType::i64)) {
      reject("input_ids is ", given.describe(), "; it must be I64 [batch, seq]");
    }
    if (in_.inputs_embeds &&
        (given.rank() != 3 || given.dtype() != DType::f32 || given.dim(2) != model_.config.hidden_size)) {
      reject("inputs_embeds is ", given.describe(), "; it must be F32 [batch, seq, ", model_.config.hidden_size, "]");
    }
    un_.batch = given.dim(0);
    un_.seq = given.dim(1);
    if (un_.batch == 0 || un_.seq == 0) reject("the batch has the shape ", given.describe(), "; it must not be empty");
  }

  void prepare_cache() {
    cache_ = in_.past_key_values;
    if (cache_) {
      if (cache_->batch_size() != un_.batch) {
        reject("past_key_values has ", cache_->batch_size(), " rows; the batch has ", un_.batch);
      }
      for (int64_t b = 0; b < un_.batch; ++b) {
        if (!cache_->row(b)) reject("row ", b, " of past_key_values is an empty SequenceState; new_state() makes one");
      }
      past_columns_ = cache_->get_seq_length();
      keep_cache_ = true;
      return;
    }
    keep_cache_ = in_.use_cache.value_or(model_.config.use_cache);
    cache_ = std::make_shared<HybridMambaAttentionDynamicCache>();
    std::vector<SequenceState> states;
    for (int64_t b = 0; b < un_.batch; ++b) {
      states.emplace_back(std::make_unique<SequenceState::Impl>(model_.context));
    }
    *cache_ = HybridMambaAttentionDynamicCache(std::move(states));
  }

  /// The mask's part for this call's columns: pointer to row b, or null without a mask.
  const int64_t* mask_row(int64_t b) const {
    const Tensor& mask = in_.attention_mask;
    if (!mask) return nullptr;
    const int64_t whole = past_columns_ + un_.seq;
    if (mask.dtype() != DType::i64 || mask.rank() != 2 || mask.dim(0) != un_.batch ||
        (mask.dim(1) != un_.seq && mask.dim(1) != whole)) {
      reject("attention_mask is ", mask.describe(), "; it must be I64 [", un_.batch, ", ", un_.seq, "]",
             past_columns_ > 0 ? str(" or [", un_.batch, ", ", whole, "] with the past") : std::string());
    }
    return mask.data<int64_t>().data() + b * mask.dim(1) + (mask.dim(1) - un_.seq);
  }

  Unpadded::Row read_row(int64_t b) const {
    Unpadded::Row row;
    const int64_t* mask = mask_row(b);
    for (int64_t column = 0; column < un_.seq; ++column) {
      if (mask != nullptr && mask[column] != 0 && mask[column] != 1) {
        reject("attention_mask[", b, ", ", column, "] is ", mask[column], "; it must be 0 or 1");
      }
      if (mask == nullptr || mask[column] == 1) row.columns.push_back(column);
    }
    const int64_t hidden = model_.config.hidden_size;
    for (const int64_t column : row.columns) {
      const int64_t at = b * un_.seq + column;
      if (in_.input_ids) {
        const int64_t id = in_.input_ids.data<int64_t>()[static_cast<size_t>(at)];
        if (id < 0 || id >= model_.config.vocab_size) {
          reject("input_ids[", b, ", ", column, "] is ", id, "; ids are 0 to ", model_.config.vocab_size - 1);
        }
        row.ids.push_back(id);
      } else {
        const float* source = in_.inputs_embeds.data<float>().data() + at * hidden;
        row.embeds.insert(row.embeds.end(), source, source + hidden);
      }
    }
    read_positions(b, mask != nullptr, row);
    return row;
  }

  void read_positions(int64_t b, bool masked, Unpadded::Row& row) const {
    if (in_.position_ids) {
      const Tensor& ids = in_.position_ids;
      if (ids.dtype() != DType::i64 || ids.rank() != 2 || ids.dim(1) != un_.seq ||
          (ids.dim(0) != un_.batch && ids.dim(0) != 1)) {
        reject("position_ids is ", ids.describe(), "; it must be I64 [", un_.batch, ", ", un_.seq, "] or [1, ", un_.seq,
               "]");
      }
      const int64_t* source = ids.data<int64_t>().data() + (ids.dim(0) == 1 ? 0 : b * un_.seq);
      for (const int64_t column : row.columns) row.positions.push_back(source[column]);
    }
    if (!in_.cache_position) return;
    const Tensor& positions = in_.cache_position;
    if (positions.dtype() != DType::i64 || positions.rank() != 1 || positions.dim(0) != un_.seq) {
      reject("cache_position is ", positions.describe(), "; it must be I64 [", un_.seq, "]");
    }
    const auto values = positions.data<int64_t>();
    const int64_t first = values[0];
    if (in_.past_key_values && first != past_columns_) {
      reject("cache_position starts at ", first, "; the cache holds ", past_columns_,
             " columns, and only the next one can follow");
    }
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] != first + static_cast<int64_t>(i)) reject("cache_position must rise by one from column to column");
    }
    // Without a mask a column and a position are the same thing.
    if (row.positions.empty() && !masked) row.positions.assign(values.begin(), values.end());
  }

  /// Columns whose logits are wanted, in the order asked for; then for each row the tokens among them.
  void choose_logits() {
    const int64_t seq = un_.seq;
    if (in_.logits_to_keep_index) {
      const Tensor& index = in_.logits_to_keep_index;
      if (index.dtype() != DType::i64 || index.rank() != 1) {
        reject("logits_to_keep is ", index.describe(), "; as a tensor it must be I64 [kept]");
      }
      for (const int64_t column : index.data<int64_t>()) {
        if (column < -seq || column >= seq) {
          reject("logits_to_keep names column ", column, "; the batch has ", seq, " columns");
        }
        columns_kept_.push_back(column < 0 ? column + seq : column);
      }
    } else {
      if (in_.logits_to_keep < 0) reject("logits_to_keep is ", in_.logits_to_keep, "; it must be at least 0");
      const int64_t count = in_.logits_to_keep == 0 ? seq : std::min(in_.logits_to_keep, seq);
      for (int64_t column = seq - count; column < seq; ++column) columns_kept_.push_back(column);
    }
    if (in_.labels) {
      if (in_.labels.dtype() != DType::i64 || in_.labels.shape() != Shape{un_.batch, seq}) {
        reject("labels is ", in_.labels.describe(), "; it must be I64 [", un_.batch, ", ", seq, "]");
      }
      if (static_cast<int64_t>(columns_kept_.size()) != seq || in_.logits_to_keep_index) {
        reject("labels need the logits of all columns; logits_to_keep must be 0 with them");
      }
      check_labels(in_.labels, model_.config.vocab_size, in_.num_items_in_batch);
    }
    std::vector<bool> wanted(static_cast<size_t>(seq), false);
    for (const int64_t column : columns_kept_) wanted[static_cast<size_t>(column)] = true;
    for (Unpadded::Row& row : un_.rows) {
      for (size_t t = 0; t < row.columns.size(); ++t) {
        if (wanted[static_cast<size_t>(row.columns[t])]) row.kept.push_back(static_cast<int64_t>(t));
      }
    }
  }

  std::vector<SequenceRequest> make_requests() {
    std::vector<SequenceRequest> requests;
    for (size_t b = 0; b < un_.rows.size(); ++b) {
      const Unpadded::Row& row = un_.rows[b];
      if (row.columns.empty()) continue;  // only padding: nothing happens to its state
      SequenceRequest request;
      request.state = &cache_->row(static_cast<int64_t>(b)).impl();
      request.tokens = static_cast<int64_t>(row.columns.size());
      request.input_ids = row.ids;
      request.embeds = row.embeds.empty() ? nullptr : row.embeds.data();
      request.position_ids = row.positions;
      request.logits = LogitsToKeep::none;
      request.kept = row.kept;
      requests.push_back(request);
    }
    return requests;
  }

  /// [tokens, width] of all rows -> [batch, seq, width], zeros for padding.
  Tensor pad_rows(const Tensor& packed) const {
    const int64_t width = model_.config.hidden_size;
    Tensor out = Tensor::zeros(DType::f32, {un_.batch, un_.seq, width});
    if (!packed) return out;
    const float* source = packed.data<float>().data();
    for (int64_t b = 0; b < un_.batch; ++b) {
      for (const int64_t column : un_.rows[static_cast<size_t>(b)].columns) {
        std::copy_n(source, width, out.data<float>().data() + (b * un_.seq + column) * width);
        source += width;
      }
    }
    return out;
  }

  Tensor pad_logits(const Tensor& packed) const {
    const int64_t vocab = model_.config.vocab_size;
    const auto kept = static_cast<int64_t>(columns_kept_.size());
    Tensor out = Tensor::zeros(DType::f32, {un_.batch, kept, vocab});
    float* target = out.data<float>().data();
    int64_t first = 0;  // the row's first packed logits
    for (const Unpadded::Row& row : un_.rows) {
      for (const int64_t column : columns_kept_) {
        const auto found = std::lower_bound(row.columns.begin(), row.columns.end(), column);
        if (found != row.columns.end() && *found == column) {
          const int64_t token = found - row.columns.begin();
          const int64_t rank = std::lower_bound(row.kept.begin(), row.kept.end(), token) - row.kept.begin();
          std::copy_n(packed.data<float>().data() + (first + rank) * vocab, vocab, target);
        }
        target += vocab;
      }
      first += static_cast<int64_t>(row.kept.size());
    }
    return out;
  }

  /// [heads, tokens, past + tokens] of each row -> [batch, heads, seq, past columns + seq]. Keys of this call go to
  /// their columns; keys of the past are right-aligned before them, as left padding has it.
  Tensor pad_attentions(const std::vector<Tensor>& of_rows) const {
    const int64_t heads = model_.config.num_attention_heads;
    const int64_t total = past_columns_ + un_.seq;
    Tensor out = Tensor::zeros(DType::f32, {un_.batch, heads, un_.seq, total});
    float* target = out.data<float>().data();
    size_t next = 0;
    for (int64_t b = 0; b < un_.batch; ++b) {
      const auto& columns = un_.rows[static_cast<size_t>(b)].columns;
      if (columns.empty()) continue;
      const Tensor& weights = of_rows[next++];
      const auto tokens = static_cast<int64_t>(columns.size());
      const int64_t past = weights.dim(2) - tokens;
      const float* source = weights.data<float>().data();
      for (int64_t h = 0; h < heads; ++h) {
        for (const int64_t column : columns) {
          float* line = target + ((b * heads + h) * un_.seq + column) * total;
          std::copy_n(source, past, line + past_columns_ - past);
          for (int64_t t = 0; t < tokens; ++t) {
            line[past_columns_ + columns[static_cast<size_t>(t)]] = source[past + t];
          }
          source += past + tokens;
        }
      }
    }
    return out;
  }

  Tensor loss(const Tensor& logits) const {
    LossInputs inputs;
    inputs.logits = logits;
    inputs.labels = in_.labels;
    inputs.num_items_in_batch = in_.num_items_in_batch;
    inputs.z_loss_coefficient = model_.config.z_loss_coefficient;
    inputs.real.assign(static_cast<size_t>(un_.batch * un_.seq), false);
    for (int64_t b = 0; b < un_.batch; ++b) {
      for (const int64_t column : un_.rows[static_cast<size_t>(b)].columns) {
        inputs.real[static_cast<size_t>(b * un_.seq + column)] = true;
      }
    }
    const auto value = static_cast<float>(causal_lm_loss(inputs));
    return Tensor::from(std::span<const float>(&value, 1), {});
  }

  BambaModel::Impl& model_;
  const ForwardInputs& in_;
  bool with_head_;
  Unpadded un_;
  std::shared_ptr<HybridMambaAttentionDynamicCache> cache_;
  bool keep_cache_ = false;
  int64_t past_columns_ = 0;
  std::vector<int64_t> columns_kept_;
};

}  // namespace

BaseModelOutputWithPast BambaModel::forward(const ForwardInputs& inputs) const {
  if (inputs.labels) fail(ErrorCode::invalid_argument, "labels need a head: BambaForCausalLM computes the loss");
  BaseModelOutputWithPast out;
  CausalLMOutputWithPast rest = PaddedForward(*impl_, inputs, false).run(&out.last_hidden_state);
  out.past_key_values = std::move(rest.past_key_values);
  out.hidden_states = std::move(rest.hidden_states);
  out.attentions = std::move(rest.attentions);
  return out;
}

CausalLMOutputWithPast BambaForCausalLM::forward(const ForwardInputs& inputs) const {
  return PaddedForward(model_.impl(), inputs, true).run(nullptr);
}

}  // namespace bamba
