// stream, stream_options and return_token_ids.
#pragma once

#include "server/json_fields.h"
#include "server/reply_plan.h"

namespace bamba::server {

void stream_fields(const Fields& fields, ReplyPlan& plan);

}  // namespace bamba::server
