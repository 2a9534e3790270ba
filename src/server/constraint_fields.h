// response_format, regex and grammar: what the text of a reply must match.
#pragma once

#include <bamba/generation.h>

#include <functional>
#include <memory>

#include "server/json_fields.h"
#include "server/served_model.h"

namespace bamba::server {

/// Makes an EngineRequest::new_processor for a prompt of so many tokens; what it makes is empty without a constraint.
using ConstraintMaker = std::function<std::function<LogitsProcessor()>(size_t prompt_length)>;

/// Constraints as requests ask for them, and those of the last requests kept: an application asks for the same ones
/// again and again, and the masks found so far come with them. May be used by several threads at once.
class ConstraintCache {
 public:
  ConstraintCache();
  ~ConstraintCache();
  ConstraintCache(const ConstraintCache&) = delete;
  ConstraintCache& operator=(const ConstraintCache&) = delete;

  /// Throws ApiError(400) that names the field.
  ConstraintMaker read(const Fields& fields, const ServedModel& model);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bamba::server
