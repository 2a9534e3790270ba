// The header of a safetensors file: read event by event, checked before anything is sized by it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/json.h"
#include "base/str.h"
#include "io/safetensors.h"
#include "io/safetensors_format.h"

namespace bamba {
namespace {

/// What the header says about one tensor, while it is being read.
struct Draft {
  std::string name;
  std::optional<DType> dtype;
  std::optional<Shape> shape;
  std::optional<std::array<uint64_t, 2>> offsets;
};

/// Follows the header's grammar; every event that does not fit is refused where it stands.
class HeaderReader final : public JsonHandler {
 public:
  HeaderReader(const std::string& origin, uint64_t data_begin, uint64_t data_bytes, SafetensorsHeader& out)
      : origin_(origin), data_begin_(data_begin), data_bytes_(data_bytes), out_(out) {}

  void begin_object() override {
    switch (place_) {
      case Place::document:
        place_ = Place::names;
        return;
      case Place::names:
        place_ = draft_.name == kMetadataKey ? Place::metadata : Place::tensor;
        return;
      default:
        reject_value("an object");
    }
  }

  void key(std::string& name) override {
    if (place_ == Place::names) {
      const bool repeated = name == kMetadataKey ? has_metadata_ : out_.tensors.contains(name);
      if (repeated) fail_header(quote(name), " appears twice");
      draft_ = Draft{.name = std::move(name), .dtype = {}, .shape = {}, .offsets = {}};
    } else {
      field_ = std::move(name);
      if (place_ == Place::tensor && field_ != "dtype" && field_ != "shape" && field_ != "data_offsets") {
        fail_tensor("has an unknown key ", quote(field_), "; known are dtype, shape and data_offsets");
      }
    }
  }

  void end_object() override {
    switch (place_) {
      case Place::tensor:
        finish_tensor();
        place_ = Place::names;
        return;
      case Place::metadata:
        has_metadata_ = true;
        place_ = Place::names;
        return;
      default:
        place_ = Place::end;
    }
  }

  void begin_array() override {
    if (place_ == Place::tensor && field_ == "shape") {
      if (draft_.shape) fail_tensor("has the key \"shape\" twice");
      draft_.shape.emplace();
      place_ = Place::shape;
    } else if (place_ == Place::tensor && field_ == "data_offsets") {
      if (draft_.offsets) fail_tensor("has the key \"data_offsets\" twice");
      draft_.offsets.emplace();
      offsets_read_ = 0;
      place_ = Place::offsets;
    } else {
      reject_value("a list");
    }
  }

  void end_array() override {
    if (place_ == Place::offsets && offsets_read_ != 2) reject_offsets();
    place_ = Place::tensor;
  }

  void value(Json&& scalar) override {
    switch (place_) {
      case Place::shape:
        add_dimension(scalar);
        return;
      case Place::offsets:
        if (!scalar.is_number_unsigned() || offsets_read_ == 2) reject_offsets();
        (*draft_.offsets)[offsets_read_++] = scalar.get<uint64_t>();
        return;
      case Place::metadata:
        add_metadata(scalar);
        return;
      case Place::tensor:
        if (field_ == "dtype" && scalar.is_string()) {
          read_dtype(scalar.get_ref<const std::string&>());
          return;
        }
        break;
      default:
        break;
    }
    reject_value(printable(scalar.dump(), 40));
  }

 private:
  enum class Place { document, names, metadata, tensor, shape, offsets, end };

  template <typename... Parts>
  [[noreturn]] void fail_header(const Parts&... parts) const {
    fail(ErrorCode::invalid_checkpoint, origin_, ": in the safetensors header, ", parts...);
  }
  template <typename... Parts>
  [[noreturn]] void fail_tensor(const Parts&... parts) const {
    fail(ErrorCode::invalid_checkpoint, origin_, ": tensor ", quote(draft_.name), " ", parts...);
  }
  [[noreturn]] void reject_offsets() const {
    fail_tensor("has wrong data_offsets; they must be [begin, end], two integers from 0 up");
  }

  [[noreturn]] void reject_value(const std::string& what) const {
    switch (place_) {
      case Place::document:
        fail_header("the document is ", what, "; it must be an object");
      case Place::names:
        if (draft_.name == kMetadataKey) fail_header(kMetadataKey, " is ", what, "; it must be an object of strings");
        fail_tensor("is ", what, "; it must be an object with dtype, shape and data_offsets");
      case Place::metadata:
        fail_header(kMetadataKey, '.', quote(field_), " is ", what, "; it must be a string");
      case Place::shape:
        fail_tensor("has ", what, " in its shape; dimensions are integers from 0 to 2^63 - 1");
      case Place::offsets:
        reject_offsets();
      default:
        break;
    }
    const char* wanted = field_ == "dtype" ? "a string" : field_ == "shape" ? "a list of integers" : "[begin, end]";
    fail_tensor("has ", what, " as ", field_, "; it must be ", wanted);
  }

  void add_dimension(const Json& scalar) {
    constexpr size_t kMaxRank = 64;
    if (!scalar.is_number_unsigned()) reject_value(printable(scalar.dump(), 40));
    const auto dimension = scalar.get<uint64_t>();
    if (dimension > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) reject_value(scalar.dump());
    if (draft_.shape->size() == kMaxRank) fail_tensor("has more than ", kMaxRank, " dimensions");
    draft_.shape->push_back(static_cast<int64_t>(dimension));
  }

  void add_metadata(Json& scalar) {
    if (!scalar.is_string()) reject_value(printable(scalar.dump(), 40));
    const auto [place, fresh] = out_.metadata.try_emplace(std::move(field_), std::move(scalar.get_ref<std::string&>()));
    if (!fresh) fail_header(kMetadataKey, " has the key ", quote(place->first), " twice");
  }

  void read_dtype(const std::string& name) {
    if (draft_.dtype) fail_tensor("has the key \"dtype\" twice");
    draft_.dtype = dtype_from_safetensors_name(name);
    if (!draft_.dtype) {
      std::string known;
      for (const DType dtype : kAllDTypes)
        known.append(known.empty() ? "" : ", ").append(dtype_safetensors_name(dtype));
      fail_tensor("has the unknown dtype ", quote(name, 40), "; known are ", known);
    }
  }

  void finish_tensor() {
    const char* missing = !draft_.dtype     ? "dtype"
                          : !draft_.shape   ? "shape"
                          : !draft_.offsets ? "data_offsets"
                                            : nullptr;
    if (missing != nullptr) fail_tensor("has no ", missing);
    const auto [begin, end] = *draft_.offsets;
    if (begin > end || end > data_bytes_) {
      fail_tensor("has data_offsets [", begin, ", ", end, "]; the file has ", data_bytes_,
                  " bytes of tensor data (is it truncated?)");
    }
    const std::optional<uint64_t> bytes = tensor_bytes(*draft_.dtype, *draft_.shape);
    if (!bytes) {
      fail_tensor("has a shape ", list_str<int64_t>(*draft_.shape), " of more bytes than 63 bits can count");
    }
    if (*bytes != end - begin) {
      fail_tensor("has dtype ", dtype_safetensors_name(*draft_.dtype), " and shape ", list_str<int64_t>(*draft_.shape),
                  ", so ", *bytes, " bytes, but its data_offsets [", begin, ", ", end, "] span ", end - begin);
    }
    out_.tensors.emplace(std::move(draft_.name), SafetensorsEntry{.dtype = *draft_.dtype,
                                                                  .shape = std::move(*draft_.shape),
                                                                  .begin = static_cast<size_t>(data_begin_ + begin),
                                                                  .bytes = static_cast<size_t>(*bytes)});
  }

  const std::string& origin_;
  uint64_t data_begin_;
  uint64_t data_bytes_;
  SafetensorsHeader& out_;
  Place place_ = Place::document;
  Draft draft_;
  std::string field_;
  size_t offsets_read_ = 0;
  bool has_metadata_ = false;
};

/// Tensors, in the order of their data, must follow one another from the first byte of data to the file's last.
void check_layout(const SafetensorsHeader& header, const std::string& origin, uint64_t data_begin, uint64_t file_end) {
  using Named = decltype(header.tensors)::value_type;
  std::vector<const Named*> order;
  order.reserve(header.tensors.size());
  for (const Named& named : header.tensors) order.push_back(&named);
  std::sort(order.begin(), order.end(), [](const Named* a, const Named* b) {
    return std::pair(a->second.begin, a->second.bytes) < std::pair(b->second.begin, b->second.bytes);
  });
  uint64_t expected = data_begin;
  const Named* previous = nullptr;
  for (const Named* named : order) {
    const uint64_t begin = named->second.begin;
    if (begin < expected) {
      fail(ErrorCode::invalid_checkpoint, origin, ": tensor ", quote(named->first), " overlaps tensor ",
           quote(previous->first));
    }
    if (begin > expected) {
      fail(ErrorCode::invalid_checkpoint, origin, ": tensor ", quote(named->first), " starts at byte ",
           begin - data_begin, " of the data, but the tensor before it ends at ", expected - data_begin,
           "; there must be no gap");
    }
    expected = begin + named->second.bytes;
    previous = named;
  }
  if (expected != file_end) {
    const std::string last =
        previous == nullptr ? "there is no tensor" : "the last tensor is " + quote(previous->first);
    fail(ErrorCode::invalid_checkpoint, origin, ": ", file_end - expected, " bytes after the last tensor's data (",
         last, "); the tensors must fill the file");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file_bytes, const std::string& origin) {
  if (file_bytes.size() < kLengthBytes) {
    fail(ErrorCode::invalid_checkpoint, origin, ": not a safetensors file: it has ", file_bytes.size(),
         " bytes, and the header's length alone takes ", kLengthBytes);
  }
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file_bytes[i]);
  if (length > kMaxHeaderBytes) {
    fail(ErrorCode::invalid_checkpoint, origin, ": the safetensors header claims ", length, " bytes; at most ",
         kMaxHeaderBytes, " are accepted");
  }
  if (length > file_bytes.size() - kLengthBytes) {
    fail(ErrorCode::invalid_checkpoint, origin, ": the safetensors header claims ", length, " bytes, but only ",
         file_bytes.size() - kLengthBytes, " follow (is the file truncated?)");
  }
  const std::string_view text = file_bytes.substr(kLengthBytes, static_cast<size_t>(length));
  if (!text.starts_with('{')) {
    fail(ErrorCode::invalid_checkpoint, origin, ": not a safetensors file: its header does not begin with '{'");
  }
  const uint64_t data_begin = kLengthBytes + length;
  SafetensorsHeader header;
  HeaderReader reader(origin, data_begin, file_bytes.size() - data_begin, header);
  scan_json(text, origin, ErrorCode::invalid_checkpoint, reader);
  check_layout(header, origin, data_begin, file_bytes.size());
  return header;
}

}  // namespace bamba
