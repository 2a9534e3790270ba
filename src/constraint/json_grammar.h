// The rules that all JSON is made of: what a schema does not narrow down.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "constraint/grammar.h"

namespace bamba {

/// Adds rules to a grammar when they are first asked for.
///
/// White space is bounded, or a model that likes it would write nothing else: behind { [ , and before } ] at most one
/// space, or one line feed and up to kMaxIndent spaces or tabs; behind a colon at most one space.
class JsonGrammar {
 public:
  explicit JsonGrammar(Grammar& grammar) : grammar_(grammar) {}

  ExpressionId value();    ///< any JSON
  ExpressionId object();   ///< any object
  ExpressionId array();    ///< any array
  ExpressionId string();   ///< any string
  ExpressionId number();   ///< at most 16 digits, 16 more behind a point, an exponent of 2
  ExpressionId integer();  ///< at most 18 digits, as fit into 64 bits
  ExpressionId boolean();
  ExpressionId null();

  ExpressionId space();        ///< see above
  ExpressionId colon();        ///< : with what may follow it
  ExpressionId comma();        ///< , with what may follow it
  ExpressionId string_char();  ///< one character of a string, escaped or not
  /// Exactly this value.
  ExpressionId constant(const Json& value);
  ExpressionId key(std::string_view name);
  /// A string none of `names`.
  ExpressionId other_key(const std::vector<std::string>& names);
  /// One character of the set within a string, escaped where it must be (and then in the shortest way).
  ExpressionId chars_in_string(const CharSet& set);
  /// open (part (, part)*)? close, with white space.
  ExpressionId enclosed(char open, ExpressionId content, char close, bool may_be_empty);

  static constexpr int kMaxIndent = 40;

 private:
  template <typename Make>
  ExpressionId once(int& slot, const char* name, const Make& make);
  ExpressionId escape();
  ExpressionId list(ExpressionId part);

  Grammar& grammar_;
  // Rules; -1: not asked for yet.
  int value_ = -1, object_ = -1, array_ = -1, string_ = -1, number_ = -1, integer_ = -1, space_ = -1, char_ = -1,
      escape_ = -1, key_rest_ = -1;
};

}  // namespace bamba
