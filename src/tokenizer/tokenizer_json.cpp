#include "tokenizer/tokenizer_json.h"

#include <limits>
#include <unordered_set>

#include "base/str.h"

namespace bamba {
namespace {

constexpr size_t kMaxDepth = 64;

class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(const std::string& origin, TokenizerJson& out, bool lift_model)
      : origin_(origin), out_(out), lift_model_(lift_model) {}

  bool null() override { return scalar(Json()); }
  bool boolean(bool value) override { return scalar(Json(value)); }
  bool number_integer(number_integer_t value) override {
    if (mode_ == Mode::vocab) bad_id(str(value));
    return scalar(Json(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (mode_ != Mode::vocab) return scalar(Json(value));
    if (value > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) bad_id(str(value));
    out_.vocab.emplace_back(std::move(key_), static_cast<uint32_t>(value));
    return true;
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (mode_ == Mode::vocab) bad_id(text);
    return scalar(Json(value));
  }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& value) override {
    if (mode_ == Mode::merges) {
      const size_t space = value.find(' ');
      if (value.starts_with("#version")) return true;
      if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos) bad_merge();
      out_.merges.emplace_back(value.substr(0, space), value.substr(space + 1));
      return true;
    }
    if (mode_ == Mode::merge_pair) {
      if (pair_size_ >= 2) bad_merge();
      if (pair_size_++ == 0) {
        pair_first_ = std::move(value);
      } else {
        out_.merges.emplace_back(std::move(pair_first_), std::move(value));
      }
      return true;
    }
    return scalar(Json(std::move(value)));
  }

  bool start_object(size_t) override {
    if (mode_ != Mode::tree) misplaced();
    if (at_model_key("vocab")) {
      mode_ = Mode::vocab;
      out_.has_vocab = true;
      return true;
    }
    return open(Json::object());
  }
  bool key(string_t& value) override {
    key_ = std::move(value);
    if (mode_ == Mode::tree && !keys_.back().insert(key_).second) {
      fail(ErrorCode::invalid_tokenizer, origin_, ": the key \"", key_, "\" appears twice in one object");
    }
    return true;
  }
  bool end_object() override {
    if (mode_ == Mode::vocab) {
      mode_ = Mode::tree;
      return true;
    }
    return close();
  }
  bool start_array(size_t) override {
    if (mode_ == Mode::merges) {
      mode_ = Mode::merge_pair;
      pair_size_ = 0;
      return true;
    }
    if (mode_ != Mode::tree) misplaced();
    if (at_model_key("merges")) {
      mode_ = Mode::merges;
      out_.has_merges = true;
      return true;
    }
    return open(Json::array());
  }
  bool end_array() override {
    if (mode_ == Mode::merge_pair) {
      if (pair_size_ != 2) bad_merge();
      mode_ = Mode::merges;
      return true;
    }
    if (mode_ == Mode::merges) {
      mode_ = Mode::tree;
      return true;
    }
    return close();
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    fail(ErrorCode::invalid_tokenizer, origin_, ": not valid JSON: ", error.what());
  }

 private:
  enum class Mode { tree, vocab, merges, merge_pair };

  [[noreturn]] void bad_id(const std::string& value) const {
    fail(ErrorCode::invalid_tokenizer, origin_, ": the token \"", key_, "\" has the id ", value,
         "; ids are whole numbers from 0 to 2147483647");
  }
  [[noreturn]] void bad_merge() const {
    fail(ErrorCode::invalid_tokenizer, origin_, ": model.merges entry ", out_.merges.size(),
         " is not a pair of tokens (\"a b\" or [\"a\", \"b\"])");
  }
  [[noreturn]] void misplaced() const {
    if (mode_ == Mode::vocab) bad_id("of a type that is no number");
    bad_merge();
  }
  bool at_model_key(std::string_view key) const {
    return lift_model_ && stack_.size() == 2 && parents_.size() == 2 && parents_[1] == "model" && key_ == key &&
           stack_.back()->is_object();
  }

  Json* place(Json&& value) {
    if (stack_.empty()) {
      out_.rest = std::move(value);
      return &out_.rest;
    }
    if (stack_.back()->is_array()) {
      auto& list = stack_.back()->get_ref<Json::array_t&>();
      return &list.emplace_back(std::move(value));
    }
    // push_back, not operator[]: the ordered map would compare with all earlier keys, which keys_ has done already.
    auto& map = stack_.back()->get_ref<Json::object_t&>();
    map.push_back({key_, std::move(value)});
    return &map.back().second;
  }
  bool scalar(Json&& value) {
    if (mode_ != Mode::tree) misplaced();
    place(std::move(value));
    return true;
  }
  bool open(Json&& value) {
    if (stack_.size() >= kMaxDepth) {
      fail(ErrorCode::invalid_tokenizer, origin_, ": JSON is nested deeper than ", kMaxDepth, " levels");
    }
    const bool named = !stack_.empty() && stack_.back()->is_object();
    parents_.push_back(named ? key_ : std::string());
    stack_.push_back(place(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    parents_.pop_back();
    keys_.pop_back();
    return true;
  }

  const std::string& origin_;
  TokenizerJson& out_;
  bool lift_model_;
  Mode mode_ = Mode::tree;
  std::string key_;
  std::string pair_first_;
  int pair_size_ = 0;
  std::vector<Json*> stack_;          // open containers; a parent's storage is still while its child is open
  std::vector<std::string> parents_;  // the key each open container stands under
  std::vector<std::unordered_set<std::string>> keys_;
};

TokenizerJson read(std::string_view text, const std::string& origin, bool lift_model) {
  TokenizerJson out;
  Reader reader(origin, out, lift_model);
  nlohmann::json::sax_parse(text, &reader);
  if (!out.rest.is_object()) fail(ErrorCode::invalid_tokenizer, origin, ": the file is not a JSON object");
  return out;
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view text, const std::string& origin) {
  return read(text, origin, true);
}

Json read_side_json(std::string_view text, const std::string& origin) {
  return read(text, origin, false).rest;
}

}  // namespace bamba
