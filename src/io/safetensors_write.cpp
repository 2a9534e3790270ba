// Writing safetensors: the header is known from declarations alone, the data follows tensor by tensor.
#include <algorithm>
#include <limits>
#include <set>

#include "base/json.h"
#include "base/str.h"
#include "io/safetensors.h"
#include "io/safetensors_format.h"

namespace bamba {
namespace {

/// Where the first tensor starts: a multiple of this many bytes in the file, so of a cache line once it is mapped.
constexpr size_t kDataAlignment = 64;

std::string json_text(const std::string& text, const std::filesystem::path& path) {
  try {
    return Json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::invalid_argument, "cannot write ", path, ": the name ", quote(text), " is not valid UTF-8");
  }
}

/// The header's JSON text, padded, for tensors whose data follow one another. Adds up their bytes.
std::string header_text(const std::filesystem::path& path, const std::vector<SafetensorsWriter::Declaration>& tensors,
                        const std::map<std::string, std::string>& metadata, size_t& data_bytes) {
  std::string text = "{";
  if (!metadata.empty()) {
    std::string pairs;
    for (const auto& [key, value] : metadata) {
      pairs.append(pairs.empty() ? "" : ",").append(json_text(key, path)).append(":").append(json_text(value, path));
    }
    text.append("\"").append(kMetadataKey).append("\":{").append(pairs).append("}");
  }
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    const auto reject = [&](const auto&... why) {
      fail(ErrorCode::invalid_argument, "cannot write ", path, ": tensor ", quote(tensor.name), " ", why...);
    };
    if (tensor.name == kMetadataKey) reject("bears a name that the format reserves");
    if (!names.insert(tensor.name).second) reject("is given twice");
    const bool negative = std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t d) { return d < 0; });
    const auto bytes = negative ? std::nullopt : tensor_bytes(tensor.dtype, tensor.shape);
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    if (!bytes || *bytes > kMost - offset) {
      reject("has the shape ", list_str<int64_t>(tensor.shape), ", which no file can hold");
    }
    std::string shape;
    for (const int64_t dimension : tensor.shape)
      shape.append(shape.empty() ? "" : ",").append(std::to_string(dimension));
    text.append(text.size() > 1 ? "," : "").append(json_text(tensor.name, path));
    text.append(R"(:{"dtype":")").append(dtype_safetensors_name(tensor.dtype));
    text.append(R"(","shape":[)").append(shape);
    text.append(R"(],"data_offsets":[)").append(std::to_string(offset)).append(",");
    text.append(std::to_string(offset + *bytes)).append("]}");
    offset += *bytes;
  }
  text.append("}");
  text.append((kDataAlignment - (kLengthBytes + text.size()) % kDataAlignment) % kDataAlignment, ' ');
  if (text.size() > kMaxHeaderBytes) {
    fail(ErrorCode::invalid_argument, "cannot write ", path, ": its header would have ", text.size(),
         " bytes; the format allows ", kMaxHeaderBytes);
  }
  data_bytes = static_cast<size_t>(offset);
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declaration>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path), file_(path) {
  const std::string header = header_text(path, tensors, metadata, expected_);
  char length[kLengthBytes];
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFFU);
  file_.write(length, kLengthBytes);
  file_.write(header);
}

void SafetensorsWriter::append(const void* data, size_t bytes) {
  if (bytes > expected_ - written_) {
    fail(ErrorCode::internal, "cannot write ", path_, ": ", written_ + bytes, " bytes of tensor data for ", expected_,
         " declared");
  }
  file_.write(data, bytes);
  written_ += bytes;
}

void SafetensorsWriter::finish() {
  if (written_ != expected_) {
    fail(ErrorCode::internal, "cannot write ", path_, ": only ", written_, " bytes of tensor data of ", expected_,
         " declared");
  }
  file_.finish();
}

void SafetensorsWriter::commit() {
  finish();
  file_.commit();
}

void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensors::value_type*> order;
  order.reserve(tensors.size());
  for (const auto& named : tensors) order.push_back(&named);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->second.dtype()) > dtype_size(b->second.dtype());
  });
  std::vector<SafetensorsWriter::Declaration> declared;
  declared.reserve(order.size());
  for (const auto* named : order) declared.push_back({named->first, named->second.dtype(), named->second.shape()});
  SafetensorsWriter writer(path, declared, metadata);
  for (const auto* named : order) writer.append(named->second.raw(), named->second.nbytes());
  writer.commit();
}

}  // namespace bamba
