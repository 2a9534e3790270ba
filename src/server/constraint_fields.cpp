#include "server/constraint_fields.h"

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {

struct ConstraintCache::Impl {};

ConstraintCache::ConstraintCache() = default;

ConstraintCache::~ConstraintCache() = default;

ConstraintMaker ConstraintCache::read(const Fields& fields, const ServedModel& /*model*/) {
  for (const char* name : {"regex", "grammar"}) {
    if (fields.has(name)) throw ApiError(400, str(name, " is not supported"), name, "unsupported_parameter");
  }
  const Json* format = fields.object("response_format");
  if (format != nullptr && Fields(*format).string("type") != "text") {
    throw ApiError(400, "response_format must be {\"type\": \"text\"}", "response_format", "unsupported_parameter");
  }
  return [](size_t) { return std::function<LogitsProcessor()>(); };
}

}  // namespace bamba::server
