// EngineOptions with their defaults filled in.
#pragma once

#include <bamba/engine.h>

#include "engine/scheduler.h"

namespace bamba {

/// Of a model. Throws Error(invalid_argument) that names the option, its value and what is allowed.
EngineOptions filled_options(const EngineOptions& options, const BambaForCausalLM& model);

SchedulerLimits scheduler_limits(const EngineOptions& filled, const BambaForCausalLM& model);

}  // namespace bamba
