// A backend that does nothing itself: it hands every operation to another one and counts what that takes.
#pragma once

#include <bamba/profile.h>

#include <memory>

#include "backend/backend.h"

namespace bamba::backend {

/// Results are those of `inner`, bit for bit. A linear layer's operation bears its weight's label. Where `inner` has an
/// OperationTimer, operations are measured by that and reach the profile with finish(); otherwise each is waited for
/// and measured by the host's clock.
std::unique_ptr<Backend> make_profiling_backend(std::unique_ptr<Backend> inner, std::shared_ptr<Profile> profile);

}  // namespace bamba::backend
