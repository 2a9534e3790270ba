#include "tokenizer/post_processor.h"

#include <algorithm>

#include "tokenizer/byte_level.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kMaxSteps = 16;

bool is_blank(uint32_t code) {
  return code == byte_level_character(' ') || is_unicode_space(code);
}

/// ByteLevel's trim_offsets: blanks at a token's ends do not belong to it. A blank at the start of the text may be
/// one that add_prefix_space put there, so a single one stays; several cannot be its work.
void trim_offsets(Encoding& encoding, bool add_prefix_space, FunctionRef<const std::string&(int64_t)> token_text) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const std::string& token = token_text(encoding.ids[i]);
    int64_t leading = 0;
    int64_t trailing = 0;
    bool only_blanks = true;
    for (size_t at = 0; at < token.size();) {
      const Utf8Step step = utf8_step(token, at);
      at += step.length;
      if (is_blank(step.code)) {
        ++trailing;
        leading += only_blanks;
      } else {
        only_blanks = false;
        trailing = 0;
      }
    }
    auto& [begin, end] = encoding.offsets[i];
    if (leading > 0) {
      if ((i == 0 || begin == 0) && add_prefix_space && leading == 1) leading = 0;
      begin = std::min(begin + leading, end);
    }
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

void append(Encoding& to, const Encoding& from) {
  to.ids.insert(to.ids.end(), from.ids.begin(), from.ids.end());
  to.offsets.insert(to.offsets.end(), from.offsets.begin(), from.offsets.end());
  to.type_ids.insert(to.type_ids.end(), from.type_ids.begin(), from.type_ids.end());
}

}  // namespace

PostProcessor::PostProcessor(const Json& json, const std::string& origin) {
  if (!json.is_null()) add(json, origin + ": post_processor", 0);
}

void PostProcessor::add(const Json& json, const std::string& where, int depth) {
  const std::string type = json_string(json, "type", where);
  if (steps_.size() >= kMaxSteps || depth > 8) {
    fail(ErrorCode::invalid_tokenizer, where, " has more than ", kMaxSteps, " steps");
  }
  if (type == "Sequence") {
    for (const Json& part : json_array(json, "processors", where)) add(part, where, depth + 1);
  } else if (type == "ByteLevel") {
    Step step;
    step.trim = json_bool(json, "trim_offsets", true, where);
    step.add_prefix_space = json_bool(json, "add_prefix_space", true, where);
    steps_.push_back(std::move(step));
  } else if (type == "TemplateProcessing") {
    Step step;
    step.is_template = true;
    step.single = template_items(json, "single", where);
    step.pair = template_items(json, "pair", where);
    steps_.push_back(std::move(step));
  } else {
    fail(ErrorCode::unsupported, where, " is of type ", type,
         "; Sequence, ByteLevel and TemplateProcessing are supported");
  }
}

std::vector<PostProcessor::Item> PostProcessor::template_items(const Json& json, const char* key,
                                                               const std::string& where) {
  constexpr size_t kMaxItems = 256;
  constexpr size_t kMaxIds = 256;
  const Json& list = json_array(json, key, where);
  if (list.size() > kMaxItems) fail(ErrorCode::invalid_tokenizer, where, ": \"", key, "\" has over 256 items");
  std::vector<Item> items;
  int uses[2] = {0, 0};
  for (const Json& entry : list) {
    const std::string place = str(where, ".", key);
    if (!entry.is_object() || entry.size() != 1) {
      fail(ErrorCode::invalid_tokenizer, place,
           " holds something other than {\"Sequence\": ...} or {\"SpecialToken\": ...}");
    }
    const bool sequence = entry.contains("Sequence");
    const Json& body = json_object(entry, sequence ? "Sequence" : "SpecialToken", place);
    Item item;
    item.type_id = json_id(json_field(body, "type_id", place), place + ".type_id");
    const std::string id = json_string(body, "id", place);
    if (sequence) {
      if (id != "A" && id != "B") fail(ErrorCode::invalid_tokenizer, place, " names the sequence ", id, "; A or B");
      item.sequence = id == "B";
      ++uses[item.sequence];
    } else {
      const Json& token = json_object(json_object(json, "special_tokens", where), id, where + ".special_tokens");
      for (const Json& value : json_array(token, "ids", where)) {
        if (item.token_ids.size() >= kMaxIds) fail(ErrorCode::invalid_tokenizer, where, ": ", id, " has over 256 ids");
        item.token_ids.push_back(json_id(value, str(where, ": an id of ", id)));
      }
    }
    items.push_back(std::move(item));
  }
  const int wanted_b = std::string_view(key) == "pair" ? 1 : 0;
  if (uses[0] != 1 || uses[1] != wanted_b) {
    fail(ErrorCode::invalid_tokenizer, where, ".", key, " must hold the sequence A once",
         wanted_b ? " and B once" : "");
  }
  return items;
}

int64_t PostProcessor::added_to_single() const {
  size_t count = 0;
  for (const Step& step : steps_) {
    for (const Item& item : step.single) count += item.token_ids.size();
  }
  return static_cast<int64_t>(count);
}

std::vector<uint32_t> PostProcessor::ids() const {
  std::vector<uint32_t> result;
  for (const Step& step : steps_) {
    for (const auto* items : {&step.single, &step.pair}) {
      for (const Item& item : *items) result.insert(result.end(), item.token_ids.begin(), item.token_ids.end());
    }
  }
  return result;
}

std::vector<Encoding> PostProcessor::apply_template(const Step& step, std::vector<Encoding> parts,
                                                    bool add_special_tokens) {
  std::vector<Encoding> out;
  for (const Item& item : parts.size() == 2 ? step.pair : step.single) {
    Encoding part;
    if (item.sequence >= 0) {
      part = std::move(parts[static_cast<size_t>(item.sequence)]);
    } else if (add_special_tokens) {
      for (const uint32_t id : item.token_ids) part.ids.push_back(id);
      part.offsets.assign(part.ids.size(), {0, 0});
    }
    part.type_ids.assign(part.ids.size(), item.type_id);
    out.push_back(std::move(part));
  }
  return out;
}

Encoding PostProcessor::process(std::vector<Encoding> parts, bool add_special_tokens,
                                FunctionRef<const std::string&(int64_t)> token_text) const {
  bool templated = false;
  for (const Step& step : steps_) {
    if (step.trim) {
      for (Encoding& part : parts) trim_offsets(part, step.add_prefix_space, token_text);
    }
    // A second template would see the first one's pieces as its texts; no real file has one.
    if (step.is_template && !templated) {
      parts = apply_template(step, std::move(parts), add_special_tokens);
      templated = true;
    }
  }
  Encoding joined = std::move(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) append(joined, parts[i]);
  return joined;
}

}  // namespace bamba
