#include "tokenizer/jinja/arithmetic.h"

#include <cmath>

namespace bamba::jinja {
namespace {

[[noreturn]] void overflow() {
  template_error("an integer does not fit in 64 bits");
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) template_error("division by zero");
  if (b == -1 && a == INT64_MIN) overflow();
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/// a ** b for b >= 0.
int64_t power(int64_t a, int64_t b) {
  if (a >= -1 && a <= 1) {
    // The result has a period of two: no need to multiply for as long as the template says.
    if (b > 2) b = 2 - b % 2;
  } else if (b > 64) {
    overflow();
  }
  int64_t result = 1;
  for (int64_t i = 0; i < b; ++i) {
    if (__builtin_mul_overflow(result, a, &result)) overflow();
  }
  return result;
}

Value of_integers(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (op == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (op == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  if (op == "//") return floor_divide(a, b);
  if (op == "%") {
    if (b == -1) return int64_t{0};  // INT64_MIN % -1 traps
    return a - floor_divide(a, b) * b;
  }
  if (op == "/") {
    if (b == 0) template_error("division by zero");
    return static_cast<double>(a) / static_cast<double>(b);
  }
  if (op == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    return power(a, b);
  }
  overflow();
}

Value of_doubles(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) template_error("division by zero");
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  return a - std::floor(a / b) * b;
}

}  // namespace

Value arithmetic(const std::string& op, const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) {
    template_error("'", op, "' does not work on values of types ", a.type_name(), " and ", b.type_name());
  }
  if (a.is_integral() && b.is_integral()) return of_integers(op, a.integer(), b.integer());
  return of_doubles(op, a.number(), b.number());
}

}  // namespace bamba::jinja
