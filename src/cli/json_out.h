// JSON lines for scripts.
#pragma once

#include <string>

#include "base/json.h"

namespace bamba::cli {

/// One line; bytes that are not UTF-8 become U+FFFD, non-finite numbers null.
inline std::string json_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace bamba::cli
