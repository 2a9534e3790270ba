// What a tokenizer.json's post_processor does to encoded texts: special tokens around them, offsets trimmed.
#pragma once

#include <bamba/tokenizer.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/json.h"

namespace bamba {

class PostProcessor {
 public:
  PostProcessor() = default;
  /// Throws Error(unsupported) for kinds other than Sequence, ByteLevel and TemplateProcessing, by name.
  PostProcessor(const Json& json, const std::string& origin);

  /// One or two encodings to one. `token_text` gives a token as the file spells it.
  Encoding process(std::vector<Encoding> parts, bool add_special_tokens,
                   FunctionRef<const std::string&(int64_t)> token_text) const;
  /// How many tokens process() adds to one text.
  int64_t added_to_single() const;
  /// Ids that templates insert.
  std::vector<uint32_t> ids() const;

 private:
  struct Item {
    int sequence = -1;                // 0: first text, 1: second, -1: special tokens
    std::vector<uint32_t> token_ids;  // of a special item
    int64_t type_id = 0;
  };
  struct Step {
    bool trim = false;  // ByteLevel with trim_offsets
    bool add_prefix_space = false;
    bool is_template = false;
    std::vector<Item> single;
    std::vector<Item> pair;
  };

  void add(const Json& json, const std::string& where, int depth);
  static std::vector<Item> template_items(const Json& json, const char* key, const std::string& where);
  static std::vector<Encoding> apply_template(const Step& step, std::vector<Encoding> parts, bool add_special_tokens);

  std::vector<Step> steps_;
};

}  // namespace bamba
