// A conversation, as chat templates see it.
#pragma once

#include <string>

namespace bamba {

/// One turn. `role` is what the model's template knows: usually "system", "user", "assistant" or "tool".
struct ChatMessage {
  std::string role;
  std::string content;
};

}  // namespace bamba
