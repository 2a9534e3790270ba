// The schema document: where its references lead, and what several schemas that must all hold come to as one.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/str.h"

namespace bamba {

/// A schema and where it stands in the document ("#/properties/name"), for messages.
struct SchemaPlace {
  Json schema;
  std::string path;

  SchemaPlace child(const Json& inner, std::string_view key) const;
  SchemaPlace child(const Json& inner, std::string_view key, size_t index) const;
  template <typename... Parts>
  [[noreturn]] void fail_at(std::string_view keyword, const Parts&... parts) const;
};

class SchemaSource {
 public:
  /// Throws Error(invalid_argument) for text that is no strict JSON, or no schema.
  explicit SchemaSource(std::string_view text);

  SchemaPlace root() const { return {root_, "#"}; }
  /// The target of a $ref. Throws Error(invalid_argument) for references out of the document and into nothing.
  SchemaPlace resolve(const SchemaPlace& from, const std::string& reference) const;
  /// Schemas that both hold, as one without $ref and allOf. Throws Error(invalid_argument) where that has no form.
  SchemaPlace both(const SchemaPlace& a, const SchemaPlace& b);
  /// The same schema with $ref and allOf written out.
  SchemaPlace flatten(const SchemaPlace& place) { return flatten(place, 0); }

 private:
  SchemaPlace flatten(const SchemaPlace& place, int depth);
  Json merge(const Json& a, const Json& b, const SchemaPlace& place);

  Json root_;
  uint64_t merge_work_ = 0;
};

template <typename... Parts>
void SchemaPlace::fail_at(std::string_view keyword, const Parts&... parts) const {
  fail(ErrorCode::invalid_argument, "the JSON schema at ", printable(path, 200), keyword.empty() ? "" : ", keyword ",
       keyword.empty() ? "" : quote(keyword), ": ", parts...);
}

/// Whether the schema, an object, says nothing that a value could break.
bool is_only_annotated(const Json& schema);

}  // namespace bamba
