#include "server/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <random>

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Below this the scores' quotients overflow; what asks for less means the likeliest token.
constexpr double kLeastTemperature = 1e-6;
constexpr size_t kMaxStopBytes = 4096;

template <typename T, typename U>
void overlay(T& target, const std::optional<U>& given) {
  if (given) target = *given;
}

void read_stops(const Fields& fields, const ServedModel& model, GenerationConfig& config) {
  const Json* stop = fields.find("stop");
  if (stop != nullptr) {
    config.stop_strings.clear();
    if (stop->is_string()) {
      config.stop_strings.push_back(stop->get<std::string>());
    } else if (stop->is_array() && stop->size() <= kMaxStops &&
               std::all_of(stop->begin(), stop->end(), [](const Json& item) { return item.is_string(); })) {
      for (const Json& item : *stop) config.stop_strings.push_back(item.get<std::string>());
    } else {
      throw ApiError(400, str("stop must be a string or a list of at most ", kMaxStops, " strings"), "stop",
                     "invalid_value");
    }
    for (const std::string& text : config.stop_strings) {
      if (text.empty() || text.size() > kMaxStopBytes) {
        throw ApiError(400, str("each stop string must have 1 to ", kMaxStopBytes, " bytes"), "stop", "invalid_value");
      }
    }
    if (!config.stop_strings.empty()) model.require_tokenizer("stop");
  }
  // The folder's own stop strings must not keep a model without a tokenizer from being served.
  if (model.tokenizer == nullptr) config.stop_strings.clear();
  if (fields.boolean("ignore_eos").value_or(false)) config.eos_token_id.clear();
  if (const Json* ids = fields.array("stop_token_ids")) {
    for (const int64_t id : token_ids(*ids, "stop_token_ids", model.config.vocab_size)) {
      config.eos_token_id.push_back(id);
    }
  }
}

void read_bias(const Fields& fields, const ServedModel& model, GenerationConfig& config) {
  const Json* bias = fields.object("logit_bias");
  if (bias == nullptr) return;
  config.logit_bias.clear();
  for (const auto& [key, value] : bias->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= model.config.vocab_size) {
      throw ApiError(400, str("logit_bias: ", quote(key), " is no token id in [0, ", model.config.vocab_size, ")"),
                     "logit_bias", "invalid_value");
    }
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      throw ApiError(400, str("logit_bias: the value for token ", id, " must be a number from -100 to 100"),
                     "logit_bias", "invalid_value");
    }
    config.logit_bias[id] = value.get<double>();
  }
}

}  // namespace

GenerationConfig sampling_fields(const Fields& fields, const ServedModel& model) {
  GenerationConfig config = model.defaults;
  config.num_beams = 1;
  config.num_return_sequences = 1;
  if (const auto temperature = fields.number("temperature", 0, kInfinity)) {
    config.do_sample = *temperature >= kLeastTemperature;
    config.temperature = config.do_sample ? std::min(*temperature, 1e6) : 1;
  }
  overlay(config.top_p, fields.number("top_p", 0, 1));
  // Some clients spell "all of them" -1.
  if (const auto top_k = fields.integer("top_k", -1, std::numeric_limits<int32_t>::max())) {
    config.top_k = std::max<int64_t>(*top_k, 0);
  }
  overlay(config.min_p, fields.number("min_p", 0, 1));
  overlay(config.typical_p, fields.number("typical_p", 1e-6, 1));
  overlay(config.epsilon_cutoff, fields.number("epsilon_cutoff", 0, 0.999999));
  overlay(config.eta_cutoff, fields.number("eta_cutoff", 0, 0.999999));
  overlay(config.repetition_penalty, fields.number("repetition_penalty", 1e-6, 1e6));
  overlay(config.presence_penalty, fields.number("presence_penalty", -2, 2));
  overlay(config.frequency_penalty, fields.number("frequency_penalty", -2, 2));
  overlay(config.no_repeat_ngram_size, fields.integer("no_repeat_ngram_size", 0, 1 << 20));
  overlay(config.min_new_tokens, fields.integer("min_tokens", 0, int64_t{1} << 40));
  const std::optional<int64_t> seed = fields.integer("seed");
  config.seed = seed ? static_cast<uint64_t>(*seed) : (uint64_t{std::random_device()()} << 32) | std::random_device()();
  read_stops(fields, model, config);
  read_bias(fields, model, config);
  overlay(config.num_return_sequences, fields.integer("n", 1, kMaxChoices));
  if (config.num_return_sequences > 1 && !config.do_sample) {
    throw ApiError(400,
                   str("n is ", config.num_return_sequences,
                       ", and without sampling all choices would be the same; set temperature above 0"),
                   "n", "invalid_value");
  }
  return config;
}

void set_length(GenerationConfig& config, std::optional<int64_t> asked, const std::string& param, int64_t otherwise,
                int64_t prompt_tokens, const ServedModel& model) {
  const int64_t room = model.max_context() - prompt_tokens;
  if (room < 1 || (asked && *asked > room)) {
    const std::string wish = asked ? str(" and ", *asked, " more were asked for") : std::string();
    throw ApiError(400, str("the context holds ", model.max_context(), " tokens; the prompt has ", prompt_tokens, wish),
                   room < 1 ? "" : param, "context_length_exceeded");
  }
  if (asked) {
    config.max_new_tokens = *asked;
  } else if (config.max_new_tokens) {
    config.max_new_tokens = std::min(*config.max_new_tokens, room);
  } else if (config.max_length) {
    config.max_new_tokens = std::clamp<int64_t>(*config.max_length - prompt_tokens, 1, room);
  } else {
    config.max_new_tokens = std::min(otherwise, room);
  }
  config.max_length.reset();
  if (config.min_length && *config.min_length > prompt_tokens + *config.max_new_tokens) config.min_length.reset();
  if (config.min_new_tokens && *config.min_new_tokens > *config.max_new_tokens) {
    throw ApiError(400,
                   str("min_tokens is ", *config.min_new_tokens, "; it must be at most the ", *config.max_new_tokens,
                       " tokens that may be made"),
                   "min_tokens", "invalid_value");
  }
}

void scheduling_fields(const Fields& fields, const ServedModel& model, EngineRequest& request) {
  request.priority = static_cast<int>(fields.integer("priority", -1000, 1000).value_or(0));
  request.timeout_seconds = fields.number("timeout", 0.001, 1e9);
  if (model.max_seconds > 0) {
    request.timeout_seconds = std::min(request.timeout_seconds.value_or(model.max_seconds), model.max_seconds);
  }
}

}  // namespace bamba::server
