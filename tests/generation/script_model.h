// A step model whose logits are a function of the tokens so far: what the generation tests script.
#pragma once

#include <bamba/error.h>
#include <gtest/gtest.h>
#include <cmath>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "generation/run.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "model/host_snapshot.h"

namespace bamba::test {

using Ids = std::vector<int64_t>;

class ScriptState final : public StepState {
 public:
  int64_t length() const override { return static_cast<int64_t>(ids.size()); }
  std::unique_ptr<StepState> fork() const override {
    auto copy = std::make_unique<ScriptState>();
    copy->ids = ids;
    return copy;
  }
  /// Nothing is shared: the ids are the memory.
  void visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const override {
    visit(ids.data(), ids.size() * sizeof(int64_t));
  }
  HostSnapshot to_host() const override {
    auto memory = std::make_shared<Ids>(ids);
    auto out = std::make_shared<HostSnapshot::Impl>();
    out->layout = kLayout;
    out->length = length();
    out->parts.push_back(std::as_bytes(std::span<const int64_t>(*memory)));
    out->memory = std::move(memory);
    return HostSnapshot(std::move(out));
  }
  static constexpr const char* kLayout = "ids";
  Ids ids;
};

class ScriptModel final : public StepModel {
 public:
  using Script = std::function<void(std::span<const int64_t> ids, std::span<float> logits)>;
  ScriptModel(int64_t vocab_size, Script script) : vocab_size_(vocab_size), script_(std::move(script)) {}

  int64_t vocab_size() const override { return vocab_size_; }
  int threads() const override { return pool == nullptr ? 1 : pool->size(); }
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override {
    if (pool == nullptr) {
      StepModel::parallel_for(tasks, body);
    } else {
      pool->parallel_for(tasks, body);
    }
  }
  std::unique_ptr<StepState> new_state() override { return std::make_unique<ScriptState>(); }
  std::unique_ptr<StepState> from_host(const HostSnapshot& snapshot) override {
    auto state = std::make_unique<ScriptState>();
    state->ids.resize(static_cast<size_t>(snapshot.length()));
    auto* target = reinterpret_cast<std::byte*>(state->ids.data());
    for (const auto& part : snapshot.impl().parts) target = std::copy(part.begin(), part.end(), target);
    return state;
  }
  std::string state_layout() const override { return ScriptState::kLayout; }
  std::string identity() const override { return "script"; }
  /// A kibibyte for what does not grow, 16 bytes a token.
  size_t state_bytes(int64_t tokens) const override { return 1024 + 16 * static_cast<size_t>(tokens); }
  std::span<float> forward(std::span<const StepInput> inputs) override {
    size_t rows = 0;
    for (const StepInput& input : inputs) rows += input.all_logits ? input.ids.size() : input.logits ? 1 : 0;
    const auto width = static_cast<size_t>(vocab_size_);
    logits_.assign(rows * width, 0.0F);
    size_t row = 0;
    for (const StepInput& input : inputs) {
      EXPECT_NE(input.state, nullptr);
      EXPECT_FALSE(input.ids.empty());
      auto& ids = static_cast<ScriptState*>(input.state)->ids;
      for (size_t i = 0; i < input.ids.size(); ++i) {
        ids.push_back(input.ids[i]);
        const bool last = i + 1 == input.ids.size();
        if (input.all_logits || (input.logits && last)) script_(ids, std::span(logits_).subspan(row++ * width, width));
      }
    }
    batch_sizes.push_back(inputs.size());
    return logits_;
  }

  std::span<const int64_t> forward_best(std::span<const StepInput> inputs) override {
    const std::span<const float> logits = forward(inputs);
    best_.clear();
    for (size_t row = 0; row < logits.size() / static_cast<size_t>(vocab_size_); ++row) {
      const auto scores = logits.subspan(row * static_cast<size_t>(vocab_size_), static_cast<size_t>(vocab_size_));
      const auto bad = std::find_if(scores.begin(), scores.end(), [](float score) { return !std::isfinite(score); });
      best_.push_back(bad == scores.end() ? std::max_element(scores.begin(), scores.end()) - scores.begin()
                                          : scores.begin() - 1 - bad);
    }
    return best_;
  }

  bool draws_tokens() const override { return can_draw; }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) override {
    const std::span<float> logits = forward(inputs);
    const size_t rows = logits.size() / static_cast<size_t>(vocab_size_);
    EXPECT_EQ(draws.size(), rows);
    best_.clear();
    for (size_t row = 0; row < rows; ++row) {
      const auto scores = logits.subspan(row * static_cast<size_t>(vocab_size_), static_cast<size_t>(vocab_size_));
      const auto bad = std::find_if(scores.begin(), scores.end(), [](float score) { return !std::isfinite(score); });
      if (bad != scores.end()) {
        best_.push_back(scores.begin() - 1 - bad);
        continue;
      }
      const TokenDraw& draw = draws[row];
      if (draw.temperature == 0) {
        best_.push_back(greedy_token(scores));
        continue;
      }
      Warpers warpers({.temperature = draw.temperature, .top_k = draw.top_k, .top_p = draw.top_p, .min_p = draw.min_p});
      const auto candidates = warpers.apply(scores);
      Sampler sampler;
      sampler.set(candidates);
      best_.push_back(candidates[sampler.draw(draw.uniform)].id);
    }
    drawn_rows += draws.size();
    return best_;
  }

  ThreadPool* pool = nullptr;
  std::vector<size_t> batch_sizes;  // of the calls so far
  bool can_draw = false;
  size_t drawn_rows = 0;

 private:
  int64_t vocab_size_;
  Script script_;
  std::vector<float> logits_;
  std::vector<int64_t> best_;
};

/// Logits in [-spread, spread) that depend on every token so far.
inline ScriptModel::Script hashed_logits(double spread = 4.0) {
  return [spread](std::span<const int64_t> ids, std::span<float> logits) {
    uint64_t hash = 1469598103934665603U;
    for (const int64_t id : ids) hash = (hash ^ static_cast<uint64_t>(id + 1)) * 1099511628211U;
    for (size_t i = 0; i < logits.size(); ++i) {
      uint64_t x = hash + i * 0x9E3779B97F4A7C15U;
      x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
      x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
      x ^= x >> 31;
      logits[i] = static_cast<float>((static_cast<double>(x >> 11) * 0x1p-52 - 1.0) * spread);
    }
  };
}

inline BambaConfig script_config(int64_t vocab_size) {
  BambaConfig config;
  config.vocab_size = vocab_size;
  config.bos_token_id.reset();
  config.pad_token_id.reset();
  config.eos_token_id.clear();
  return config;
}

/// Each id is the text given for it; ids without one are silent. Bytes of a character may be spread over ids: like
/// StreamDecoder, push() gives whole characters only.
class ScriptDecoder final : public TextDecoder {
 public:
  explicit ScriptDecoder(const std::vector<std::string>& words) : words_(words) {}
  std::string push(int64_t id) override {
    if (static_cast<size_t>(id) < words_.size()) bytes_ += words_[static_cast<size_t>(id)];
    size_t whole = bytes_.size();
    for (size_t back = 1; back <= std::min<size_t>(4, bytes_.size()); ++back) {
      const auto byte = static_cast<unsigned char>(bytes_[bytes_.size() - back]);
      if (byte < 0x80) break;
      if (byte >= 0xC0) {
        const size_t needs = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
        if (needs > back) whole = bytes_.size() - back;
        break;
      }
    }
    std::string out = bytes_.substr(0, whole);
    bytes_.erase(0, whole);
    return out;
  }
  std::string finish() override {
    const bool half = !bytes_.empty();
    bytes_.clear();
    return half ? "\xEF\xBF\xBD" : "";
  }

 private:
  const std::vector<std::string>& words_;
  std::string bytes_;
};

inline TextTools script_text(const std::vector<std::string>& words) {
  TextTools tools;
  tools.new_decoder = [&words] { return std::make_unique<ScriptDecoder>(words); };
  tools.special_token = [](std::string_view text) -> std::optional<int64_t> {
    return text == "<stop>" ? std::optional<int64_t>(0) : std::nullopt;
  };
  return tools;
}

inline GenerationConfig sampling(int64_t new_tokens, uint64_t seed = 1) {
  GenerationConfig config;
  config.do_sample = true;
  config.max_new_tokens = new_tokens;
  config.seed = seed;
  return config;
}

inline GenerateResult run_script(ScriptModel& model, const std::vector<Ids>& prompts, const GenerationConfig& config,
                                 const GenerateOptions& options = {}, const TextTools& tools = {},
                                 std::vector<std::unique_ptr<StepState>> states = {}) {
  return generate_with(model, script_config(model.vocab_size()), prompts, config, options, tools, std::move(states));
}

inline GenerateResult run_script(ScriptModel&& model, const std::vector<Ids>& prompts, const GenerationConfig& config,
                                 const GenerateOptions& options = {}, const TextTools& tools = {}) {
  return run_script(model, prompts, config, options, tools);
}

}  // namespace bamba::test
