// Expected texts come from Jinja2 3.1.6's sandboxed environment, set up as Transformers sets it up; where it raises,
// we must fail as well.
#include <bamba/tokenizer.h>
#include <gtest/gtest.h>

#include "support/error.h"
#include "tokenizer/jinja/template.h"
#include "tokenizer/tokenizer_helpers.h"

namespace bamba {
namespace {

using test::expect_error;

using jinja::Template;

std::string render(const std::string& source, const std::string& variables = "{}") {
  return Template(source, "test").render_json(variables);
}

TEST(ChatTemplate, EqualsJinja2) {
  const Json goldens = parse_json_file(test::golden_path("chat-templates") / "goldens.json", ErrorCode::invalid_file);
  ASSERT_GT(goldens.size(), 100U);
  for (const Json& golden : goldens) {
    const auto source = golden["template"].get<std::string>();
    SCOPED_TRACE(source);
    const std::string variables = golden["variables"].dump();
    if (golden.contains("error")) {
      EXPECT_THROW(render(source, variables), Error);
    } else {
      EXPECT_EQ(render(source, variables), golden["expected"].get<std::string>());
    }
  }
}

TEST(ChatTemplate, TokenizerRendersItsOwn) {
  const std::string chatml =
      "{% for m in messages %}{{ bos_token }}{{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}{% if tools is none %}!{% endif %}";
  Json json = small_tokenizer_json();
  json["added_tokens"].push_back({{"id", 256}, {"content", "<s>"}, {"special", true}});
  const Json config = {{"bos_token", {{"content", "<s>"}}}, {"chat_template", chatml}};
  const Tokenizer tokenizer = make_tokenizer(json, {config.dump(), "", ""});
  ASSERT_TRUE(tokenizer.has_chat_template());
  const std::vector<ChatMessage> messages = {{"user", " hi \xff"}, {"assistant", "yo"}};
  EXPECT_EQ(tokenizer.apply_chat_template(messages), "<s>user: hi \xEF\xBF\xBD\n<s>assistant: yo\nassistant:!");
  EXPECT_EQ(tokenizer.apply_chat_template(messages, false), "<s>user: hi \xEF\xBF\xBD\n<s>assistant: yo\n!");

  const Tokenizer from_file = make_tokenizer(json, {config.dump(), "", "file wins"});
  EXPECT_EQ(from_file.apply_chat_template(messages), "file wins");
  const Json named = {
      {"chat_template", {{{"name", "tool_use"}, {"template", "t"}}, {{"name", "default"}, {"template", "d"}}}}};
  EXPECT_EQ(make_tokenizer(json, {named.dump(), "", ""}).apply_chat_template(messages), "d");

  const Tokenizer without = make_tokenizer(json);
  EXPECT_FALSE(without.has_chat_template());
  expect_error(ErrorCode::invalid_argument, {"no chat template"}, [&] { (void)without.apply_chat_template(messages); });
}

TEST(ChatTemplate, ErrorsSayWhatAndWhere) {
  expect_error(ErrorCode::invalid_argument, {"roles must alternate"},
               [] { render("{{ raise_exception('roles must alternate') }}"); });
  expect_error(ErrorCode::invalid_tokenizer, {"line 3"}, [] { render("a\nb\n{% if %}"); });
  expect_error(ErrorCode::invalid_tokenizer, {"line 2: 'x' is undefined"}, [] { render("a\n{{ x.y }}"); });
  expect_error(ErrorCode::invalid_tokenizer, {"not UTF-8"}, [] { render("\xff"); });
}

// Templates that would run for ever, recurse without end or fill the memory.
TEST(ChatTemplate, HostileTemplatesGiveErrors) {
  const std::string deep_parens = std::string(100000, '(');
  const std::vector<std::string> sources = {
      "{{ " + deep_parens + " }}",
      "{{ " + std::string(100000, '-') + "1 }}",
      "{{ [" + std::string(50000, '[') + " }}",
      "{{ not " +
          [] {
            std::string s;
            for (int i = 0; i < 50000; ++i) s += "not ";
            return s;
          }() +
          "1 }}",
      "{{ 1" +
          [] {
            std::string s;
            for (int i = 0; i < 50000; ++i) s += "+1";
            return s;
          }() +
          " }}",
      "{{ a" +
          [] {
            std::string s;
            for (int i = 0; i < 50000; ++i) s += ".a";
            return s;
          }() +
          " }}",
      [] {
        std::string s;
        for (int i = 0; i < 50000; ++i) s += "{% if 1 %}";
        return s;
      }(),
      [] {
        std::string s = "{% if 1 %}";
        for (int i = 0; i < 50000; ++i) s += "{% elif 1 %}";
        return s + "{% endif %}";
      }(),
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{{ 'x' * 1000000000000 }}",
      "{{ range(1000000000) | list }}",
      "{{ range(0, 9, 0) }}",
      "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
      "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
      "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
      "{{ ('a' * 1000000) | indent(200) | replace('a', 'bbbbbbbbbbbbbbbbbbbbbbb') }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ -9223372036854775807 - 2 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ 10 ** 100 }}",
      "{{ 99999999999999999999999 }}",
      "{{ '\\ud800' }}",
      "{% for a, b in [1] %}{% endfor %}",
      "{{ [2, 'a'] | sort }}",
  };
  for (const std::string& source : sources) {
    EXPECT_THROW(render(source), Error) << source.substr(0, 80);
  }
  // Namespaces that hold themselves neither leak (LeakSanitizer) nor recurse.
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns.me.me == ns }}"), "True");
  EXPECT_THROW(
      render("{% set ns = namespace(d={}) %}{% for i in range(90000) %}{% set ns.d = {'a': ns.d.get} %}{% endfor %}"),
      Error);
  EXPECT_EQ(render("{% set ns = namespace() %}{% for i in range(9000) %}{% set ns = namespace(up=ns) %}{% endfor %}"),
            "");
  EXPECT_EQ(render("{{ 1 ** 1000000000000 }}{{ 2 ** -1 }}{{ [1, 2][9223372036854775807:-9223372036854775807:-1] }}"),
            "10.5[2, 1]");
}

}  // namespace
}  // namespace bamba
