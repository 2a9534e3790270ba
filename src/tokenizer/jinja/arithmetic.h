// Arithmetic on a template's numbers, as Python does it.
#pragma once

#include <string>

#include "tokenizer/jinja/value.h"

namespace bamba::jinja {

/// a op b for + - * / // % **. Whole numbers (booleans count) stay whole but for / and negative exponents; // and %
/// round towards minus infinity. Throws TemplateError for other types, for division by zero and where a whole number
/// does not fit in 64 bits.
Value arithmetic(const std::string& op, const Value& a, const Value& b);

}  // namespace bamba::jinja
