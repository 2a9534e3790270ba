// Everything at once; include what you need instead where compile time matters.
#pragma once

#include <bamba/activation_format.h>
#include <bamba/cache.h>
#include <bamba/chat_template.h>
#include <bamba/config.h>
#include <bamba/constraint.h>
#include <bamba/dtype.h>
#include <bamba/engine.h>
#include <bamba/error.h>
#include <bamba/generation.h>
#include <bamba/kv_format.h>
#include <bamba/machine.h>
#include <bamba/model.h>
#include <bamba/profile.h>
#include <bamba/progress.h>
#include <bamba/quantize.h>
#include <bamba/sequence_state.h>
#include <bamba/tensor.h>
#include <bamba/tokenizer.h>
#include <bamba/weight_format.h>
