// The fields that both completion routes share, as a GenerationConfig.
#pragma once

#include "server/json_fields.h"
#include "server/served_model.h"

namespace bamba::server {

/// Upper bounds of what one request may ask for; each choice is a sequence of its own.
constexpr int64_t kMaxChoices = 128;
constexpr size_t kMaxStops = 16;

/// The model's defaults with the request's fields laid over: temperature (0: the likeliest token), top_p, top_k, min_p,
/// typical_p, epsilon_cutoff, eta_cutoff, seed, penalties, logit_bias, no_repeat_ngram_size, stop, stop_token_ids,
/// ignore_eos, min_tokens and n. Without a seed each request draws its own. Throws ApiError(400) naming the field.
GenerationConfig sampling_fields(const Fields& fields, const ServedModel& model);

/// Sets max_new_tokens: `asked`, or else what the defaults say, or else `otherwise`, within the context that the
/// longest prompt leaves. Throws ApiError(400) when the prompt, or what was asked for, is too long.
void set_length(GenerationConfig& config, std::optional<int64_t> asked, const std::string& param, int64_t otherwise,
                int64_t prompt_tokens, const ServedModel& model);

/// priority, timeout and the like, which change no text.
void scheduling_fields(const Fields& fields, const ServedModel& model, EngineRequest& request);

}  // namespace bamba::server
