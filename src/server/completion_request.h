// The body of /v1/completions.
#pragma once

#include "base/json.h"
#include "server/reply_plan.h"

namespace bamba::server {

class ConstraintCache;

/// Throws ApiError(400) that names the field.
ReplyPlan plan_completion(const Json& body, const ServedModel& model, ConstraintCache& constraints);

}  // namespace bamba::server
