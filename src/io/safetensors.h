// safetensors: 8 bytes little-endian header length, JSON header, then tensor bytes.
// Format: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <bamba/tensor.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"

namespace bamba {

struct SafetensorsEntry {
  DType dtype;
  Shape shape;
  size_t begin;  ///< offset of the first byte in the file
  size_t bytes;
};

/// The parsed, fully checked header of one file.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Checks everything before a tensor can be had: header length against the file's size (and a cap of 100 MB), JSON,
/// UTF-8, known dtypes, at most 64 dimensions, shape x dtype = bytes without overflow, offsets inside the file, tensors
/// that fill it without overlap or gap, no name or key twice, no key that the format does not know. Reads the header
/// event by event: memory is a small multiple of its length, time n log n. Throws Error(invalid_checkpoint) naming
/// `origin` and the tensor.
SafetensorsHeader parse_safetensors_header(std::string_view file_bytes, const std::string& origin);

/// A mapped file. Tensors are read-only views that keep the map alive.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);

  const SafetensorsHeader& header() const { return header_; }
  const std::filesystem::path& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  bool contains(std::string_view name) const { return header_.tensors.contains(name); }
  /// Throws Error(invalid_checkpoint) when there is no such tensor. Data that is not aligned to its element size is
  /// copied to aligned memory.
  Tensor tensor(std::string_view name) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  SafetensorsHeader header_;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Writes all at once, atomically. In the file, tensors of wider element types come first (otherwise in the order
/// given), so that each is aligned to its element size when the file is mapped. Throws as SafetensorsWriter does.
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// Writes a file whose tensors arrive one at a time, in the order declared, so that a model larger than memory's
/// spare half can be saved: the header needs only names, types and shapes.
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    Shape shape;
  };
  /// Writes the header, padded so that the first tensor starts at a multiple of 64 bytes in the file. Throws
  /// Error(invalid_argument) for a name that is taken twice, reserved ("__metadata__") or not UTF-8, and for a shape
  /// that no file can hold; Error(io).
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declaration>& tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
  /// The next declared tensor, whole or in consecutive pieces. Throws Error(internal) past the declared bytes.
  void append(const void* data, size_t bytes);
  /// Bytes of tensor data written so far.
  size_t written() const { return written_; }
  /// All bytes are on the disk, under the temporary name. Throws Error(internal) if some are missing.
  void finish();
  /// finish() and the renaming into place.
  void commit();

 private:
  std::filesystem::path path_;
  AtomicFile file_;
  size_t expected_ = 0;
  size_t written_ = 0;
};

}  // namespace bamba
