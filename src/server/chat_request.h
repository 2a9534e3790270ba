// The body of /v1/chat/completions.
#pragma once

#include <bamba/chat_template.h>

#include <vector>

#include "server/json_fields.h"
#include "server/reply_plan.h"

namespace bamba::server {

class ConstraintCache;

/// Throws ApiError(400) that names the field.
ReplyPlan plan_chat(const Json& body, const ServedModel& model, ConstraintCache& constraints);

/// A conversation as the model reads it.
struct ChatPrompt {
  std::vector<int64_t> ids;
  std::vector<int64_t> cache_points;  ///< tokens up to the ends of messages
};
/// messages and add_generation_prompt. Throws ApiError(400), also when there is no chat template or it refuses.
ChatPrompt read_chat(const Fields& fields, const ServedModel& model);

}  // namespace bamba::server
