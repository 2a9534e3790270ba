// Chat templates: the part of Jinja that they use, as Transformers sets it up (trim_blocks, lstrip_blocks, break and
// continue, tojson without HTML escapes, raise_exception, strftime_now).
#pragma once

#include <bamba/chat_template.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bamba::jinja {

struct Program;

/// A parsed template; rendering is const and thread-safe. Templates are code from strangers: parsing is bounded in
/// depth, rendering in steps, depth and bytes.
class Template {
 public:
  /// Throws Error(invalid_tokenizer) naming `origin` and the line.
  Template(std::string_view source, std::string origin);

  /// Renders with messages, add_generation_prompt and the given string variables. Throws Error(invalid_argument) for
  /// raise_exception, Error(invalid_tokenizer) for a template that fails or passes its limits.
  std::string render_chat(std::span<const ChatMessage> messages, bool add_generation_prompt,
                          std::span<const std::pair<std::string, std::string>> variables) const;
  /// Renders with variables given as a JSON object: for tests and for richer conversations.
  std::string render_json(std::string_view variables) const;

 private:
  std::shared_ptr<const Program> program_;
};

}  // namespace bamba::jinja
