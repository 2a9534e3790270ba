// tokenizer.json writes regexes in Oniguruma's syntax; PCRE2 matches them after this translation.
#pragma once

#include <string>
#include <string_view>

namespace bamba {

/// Rewrites what the two engines read differently (\s and \w and \h in their Unicode sense, \v, \u, (?m), {,n},
/// script names in \p) and refuses what PCRE2 would silently read as something else (class intersections, nested
/// classes, possessive {n,m}+, verbs, \K and unknown escapes). Throws Error(unsupported) with the pattern and the
/// byte position.
std::string translate_regex(std::string_view pattern);

}  // namespace bamba
