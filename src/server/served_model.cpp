#include "server/served_model.h"

#include <algorithm>

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {

bool ServedModel::knows(const std::string& name) const {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const Tokenizer& ServedModel::require_tokenizer(const std::string& need) const {
  if (tokenizer == nullptr) {
    throw ApiError(400, str(need, " needs a tokenizer, and this model has none: send token ids"), {}, "no_tokenizer");
  }
  return *tokenizer;
}

}  // namespace bamba::server
