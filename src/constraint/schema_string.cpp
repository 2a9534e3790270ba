// Strings: lengths, patterns and formats. Patterns are about the text that a string means, so their characters are
// escaped as they stand in JSON.
#include <algorithm>
#include <utility>

#include "base/warning.h"
#include "constraint/regex_parser.h"
#include "constraint/schema_parts.h"

namespace bamba {
namespace {

// 29 February is not written: which years have one is not a matter of a few digits.
constexpr const char* kDate =
    "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]"
    "))";
constexpr const char* kTime =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
constexpr const char* kHost =
    "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,3}";
constexpr const char* kIpv4 =
    "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)(?:\\.(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)){3}";

/// The regex of a format that is known; empty for others.
std::string format_regex(std::string_view format) {
  if (format == "date") return kDate;
  if (format == "time") return kTime;
  if (format == "date-time") return std::string(kDate) + "T" + kTime;
  if (format == "uuid") return "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}";
  if (format == "email") {
    return std::string("[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,10}){0,2}@") + kHost + "\\.[A-Za-z]{2,24}";
  }
  if (format == "hostname") return kHost;
  if (format == "ipv4") return kIpv4;
  if (format == "ipv6") return "[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){7}";
  if (format == "uri") {
    const std::string path = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*";
    return std::string("[A-Za-z][A-Za-z0-9+.-]{0,15}://") + kHost + "(?::\\d{1,4})?(?:/" + path + ")*(?:\\?" + path +
           ")?(?:#" + path + ")?";
  }
  return {};
}

const std::string& text_of(const SchemaPlace& place, const char* keyword) {
  const Json& value = place.schema[keyword];
  if (!value.is_string()) place.fail_at(keyword, "it should be a string");
  return value.get_ref<const std::string&>();
}

}  // namespace

ExpressionId compile_string(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json) {
  const Json& schema = place.schema;
  const auto quoted = [&](ExpressionId content) {
    return grammar.sequence({grammar.literal("\""), content, grammar.literal("\"")});
  };
  const auto spell = [&](const CharSet& set) { return json.chars_in_string(set); };
  const int64_t min = schema_count(place, "minLength", 0);
  const int64_t max = schema_count(place, "maxLength", kUnbounded);
  const bool has_length = min > 0 || max != kUnbounded;
  if (max != kUnbounded && max < min) place.fail_at("maxLength", "it is below minLength");
  if (min > Grammar::kMaxCount) place.fail_at("minLength", "at most ", Grammar::kMaxCount, " is supported");

  std::string format;
  if (schema.contains("format")) {
    format = format_regex(text_of(place, "format"));
    if (format.empty()) {
      warn("the JSON schema at ", printable(place.path), ": the format ", quote(text_of(place, "format")),
           " is not known and is ignored");
    }
  }
  if (schema.contains("pattern")) {
    if (has_length || !format.empty()) {
      place.fail_at("pattern", "together with minLength, maxLength or format it is not supported");
    }
    try {
      // As JSON Schema has it, the pattern may match anywhere in the text unless it is anchored.
      const ExpressionId any = json.chars_in_string(CharSet(0, kLastCodePoint));
      return quoted(parse_regex(text_of(place, "pattern"), grammar, spell).somewhere(grammar, any));
    } catch (const Error& error) {
      place.fail_at("pattern", error.what());
    }
  }
  if (!format.empty()) {
    if (has_length) place.fail_at("format", "together with minLength or maxLength it is not supported");
    return quoted(parse_regex(format, grammar, spell).whole(grammar));
  }
  if (!has_length) return json.string();
  // A string may always be shorter than its schema allows.
  const int64_t most = max == kUnbounded ? kUnbounded : std::min(max, Grammar::kMaxCount);
  return quoted(grammar.repeat(json.string_char(), min, most));
}

}  // namespace bamba
