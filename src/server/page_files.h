// The chat page: the files of src/server/web, put into the program when it is built.
#pragma once

#include <span>
#include <string_view>

namespace bamba::server {

struct PageFile {
  std::string_view path;  ///< "/" for index.html, "/name" for others
  std::string_view content_type;
  std::string_view bytes;
};

/// Defined in a file that cmake/embed_page.cmake writes.
std::span<const PageFile> page_files();

}  // namespace bamba::server
