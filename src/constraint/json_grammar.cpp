#include "constraint/json_grammar.h"

#include <algorithm>
#include <map>
#include <span>

#include "base/str.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

/// Characters that a JSON string holds as they are.
CharSet plain_chars() {
  CharSet out(0x20, kLastCodePoint);
  CharSet special('"', '"');
  special.add('\\');
  return out.intersection(special.complement());
}

std::string escaped(uint32_t code) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default: {
      constexpr char kHex[] = "0123456789abcdef";
      return std::string("\\u00") + kHex[code >> 4 & 15] + kHex[code & 15];
    }
  }
}

}  // namespace

template <typename Make>
ExpressionId JsonGrammar::once(int& slot, const char* name, const Make& make) {
  if (slot < 0) {
    const RuleId rule = grammar_.add_rule(name);
    slot = static_cast<int>(rule);
    grammar_.set_body(rule, make());
  }
  return grammar_.reference(static_cast<RuleId>(slot));
}

ExpressionId JsonGrammar::space() {
  return once(space_, "white space", [&] {
    CharSet indent(' ', ' ');
    indent.add('\t');
    const ExpressionId line =
        grammar_.sequence({grammar_.literal("\n"), grammar_.repeat(grammar_.chars(indent), 0, kMaxIndent)});
    return grammar_.optional(grammar_.choice({grammar_.literal(" "), line}));
  });
}

ExpressionId JsonGrammar::colon() {
  return grammar_.sequence({grammar_.literal(":"), grammar_.optional(grammar_.literal(" "))});
}

ExpressionId JsonGrammar::comma() {
  return grammar_.sequence({grammar_.literal(","), space()});
}

ExpressionId JsonGrammar::enclosed(char open, ExpressionId content, char close, bool may_be_empty) {
  ExpressionId inside = grammar_.sequence({content, space()});
  if (may_be_empty) inside = grammar_.optional(inside);
  return grammar_.sequence(
      {grammar_.literal(std::string(1, open)), space(), inside, grammar_.literal(std::string(1, close))});
}

ExpressionId JsonGrammar::list(ExpressionId part) {
  return grammar_.sequence({part, grammar_.repeat(grammar_.sequence({comma(), part}), 0, kUnbounded)});
}

ExpressionId JsonGrammar::value() {
  return once(value_, "a JSON value", [&] {
    return grammar_.choice({object(), array(), string(), number(), boolean(), null()});
  });
}

ExpressionId JsonGrammar::object() {
  return once(object_, "a JSON object", [&] {
    return enclosed('{', list(grammar_.sequence({string(), colon(), value()})), '}', true);
  });
}

ExpressionId JsonGrammar::array() {
  return once(array_, "a JSON array", [&] { return enclosed('[', list(value()), ']', true); });
}

ExpressionId JsonGrammar::escape() {
  return once(escape_, "an escape", [&] {
    CharSet short_ones;
    for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) short_ones.add(static_cast<uint8_t>(c));
    const auto set = [&](std::initializer_list<CodeRange> ranges) {
      CharSet out;
      for (const CodeRange& range : ranges) out.add(range.low, range.high);
      return grammar_.chars(out);
    };
    const ExpressionId hex = set({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
    const ExpressionId d = set({{'d', 'd'}, {'D', 'D'}});
    const ExpressionId u = grammar_.literal("u");
    // Surrogates in pairs only: half a character is no text.
    const ExpressionId other = grammar_.sequence(
        {u, set({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), grammar_.repeat(hex, 3, 3)});
    const ExpressionId below = grammar_.sequence({u, d, set({{'0', '7'}}), grammar_.repeat(hex, 2, 2)});
    const ExpressionId pair =
        grammar_.sequence({u, d, set({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), grammar_.repeat(hex, 2, 2),
                           grammar_.literal("\\u"), d, set({{'c', 'f'}, {'C', 'F'}}), grammar_.repeat(hex, 2, 2)});
    return grammar_.choice({grammar_.chars(short_ones), other, below, pair});
  });
}

ExpressionId JsonGrammar::string_char() {
  return once(char_, "a character of a string", [&] {
    return grammar_.choice({grammar_.chars(plain_chars()), grammar_.sequence({grammar_.literal("\\"), escape()})});
  });
}

ExpressionId JsonGrammar::string() {
  return once(string_, "a JSON string", [&] {
    // Not string_char(): without the call, all that is between the quotes is one state.
    const ExpressionId one =
        grammar_.choice({grammar_.chars(plain_chars()), grammar_.sequence({grammar_.literal("\\"), escape()})});
    return grammar_.sequence({grammar_.literal("\""), grammar_.repeat(one, 0, kUnbounded), grammar_.literal("\"")});
  });
}

ExpressionId JsonGrammar::number() {
  return once(number_, "a JSON number", [&] {
    const ExpressionId digit = grammar_.chars({'0', '9'});
    const ExpressionId whole = grammar_.choice(
        {grammar_.literal("0"), grammar_.sequence({grammar_.chars({'1', '9'}), grammar_.repeat(digit, 0, 15)})});
    const ExpressionId fraction = grammar_.sequence({grammar_.literal("."), grammar_.repeat(digit, 1, 16)});
    CharSet e('e', 'e');
    e.add('E');
    CharSet sign('+', '+');
    sign.add('-');
    const ExpressionId exponent =
        grammar_.sequence({grammar_.chars(e), grammar_.optional(grammar_.chars(sign)), grammar_.repeat(digit, 1, 2)});
    return grammar_.sequence(
        {grammar_.optional(grammar_.literal("-")), whole, grammar_.optional(fraction), grammar_.optional(exponent)});
  });
}

ExpressionId JsonGrammar::integer() {
  return once(integer_, "a JSON integer", [&] {
    return grammar_.choice(
        {grammar_.literal("0"), grammar_.sequence({grammar_.optional(grammar_.literal("-")), grammar_.chars({'1', '9'}),
                                                   grammar_.repeat(grammar_.chars({'0', '9'}), 0, 17)})});
  });
}

ExpressionId JsonGrammar::boolean() {
  return grammar_.words({"true", "false"});
}

ExpressionId JsonGrammar::null() {
  return grammar_.literal("null");
}

ExpressionId JsonGrammar::constant(const Json& value) {
  if (!value.is_structured()) return grammar_.literal(value.dump());
  std::vector<ExpressionId> parts;
  for (const auto& [name, item] : value.items()) {
    if (!parts.empty()) parts.push_back(comma());
    if (value.is_object()) {
      parts.push_back(key(name));
      parts.push_back(colon());
    }
    parts.push_back(constant(item));
  }
  const char* const brackets = value.is_object() ? "{}" : "[]";
  if (parts.empty()) return grammar_.literal(brackets);
  return enclosed(brackets[0], grammar_.sequence(std::move(parts)), brackets[1], false);
}

ExpressionId JsonGrammar::key(std::string_view name) {
  return grammar_.literal(Json(name).dump());
}

ExpressionId JsonGrammar::chars_in_string(const CharSet& set) {
  std::vector<ExpressionId> choices;
  const CharSet plain = set.intersection(plain_chars());
  if (!plain.ranges().empty()) choices.push_back(grammar_.chars(plain));
  std::vector<std::string> escapes;
  for (const CodeRange& range : set.intersection(plain_chars().complement()).ranges()) {
    for (uint32_t code = range.low; code <= range.high; ++code) escapes.push_back(escaped(code));
  }
  if (!escapes.empty()) choices.push_back(grammar_.words(std::move(escapes)));
  return grammar_.choice(std::move(choices));
}

namespace {

/// Strings, as characters, that agree up to `depth`; none of them may be the text.
ExpressionId none_of(JsonGrammar& json, Grammar& grammar, std::span<const std::u32string> names, size_t depth,
                     ExpressionId any) {
  CharSet first;
  std::vector<ExpressionId> choices;
  bool ends_here = false;
  for (size_t begin = 0; begin < names.size();) {
    if (names[begin].size() == depth) {
      ends_here = true;
      ++begin;
      continue;
    }
    const char32_t c = names[begin][depth];
    size_t end = begin + 1;
    while (end < names.size() && names[end][depth] == c) ++end;
    first.add(c);
    choices.push_back(grammar.sequence({json.chars_in_string(CharSet(c, c)),
                                        none_of(json, grammar, names.subspan(begin, end - begin), depth + 1, any)}));
    begin = end;
  }
  choices.push_back(grammar.sequence({json.chars_in_string(first.complement()), any}));
  if (!ends_here) choices.push_back(grammar.empty());
  return grammar.choice(std::move(choices));
}

}  // namespace

ExpressionId JsonGrammar::other_key(const std::vector<std::string>& names) {
  if (names.empty()) return string();
  std::vector<std::u32string> texts;
  for (const std::string& name : names) {
    std::u32string& text = texts.emplace_back();
    for (size_t at = 0; at < name.size();) {
      const Utf8Step step = utf8_step(name, at);
      text += static_cast<char32_t>(step.code);
      at += step.length;
    }
    if (text.size() > 500) {
      fail(ErrorCode::invalid_argument, "a property's name next to additionalProperties has ", text.size(),
           " characters; at most 500 are accepted there");
    }
  }
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  // Only characters written in one way: \u0061 would smuggle an "a" past.
  const ExpressionId any = once(key_rest_, "the rest of a key", [&] {
    return grammar_.repeat(chars_in_string(CharSet(0, kLastCodePoint)), 0, kUnbounded);
  });
  return grammar_.sequence({grammar_.literal("\""), none_of(*this, grammar_, texts, 0, any), grammar_.literal("\"")});
}

}  // namespace bamba
