// Warnings from inside the library go through the handler that bamba/progress.h lets the user set.
#pragma once

#include <string_view>

#include "base/str.h"

namespace bamba {

void warn_message(std::string_view message);

template <typename... Parts>
void warn(const Parts&... parts) {
  warn_message(str(parts...));
}

}  // namespace bamba
