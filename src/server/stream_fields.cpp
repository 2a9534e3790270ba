#include "server/stream_fields.h"

#include "server/api_error.h"

namespace bamba::server {

void stream_fields(const Fields& fields, ReplyPlan& plan) {
  plan.stream = fields.boolean("stream").value_or(false);
  plan.token_ids = fields.boolean("return_token_ids").value_or(false);
  const Json* options = fields.object("stream_options");
  if (options == nullptr) return;
  if (!plan.stream) {
    throw ApiError(400, "stream_options goes with \"stream\": true", "stream_options", "invalid_value");
  }
  plan.include_usage = Fields(*options, "stream_options.").boolean("include_usage").value_or(false);
}

}  // namespace bamba::server
