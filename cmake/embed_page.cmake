# Writes a C++ file that defines bamba::server::page_files(): cmake -DOUTPUT=FILE -DFILES="a.html;b.js" -P this.
set(table "")
set(arrays "")
set(number 0)
foreach(path ${FILES})
  get_filename_component(name ${path} NAME)
  get_filename_component(extension ${path} LAST_EXT)
  if(extension STREQUAL ".html")
    set(type "text/html; charset=utf-8")
  elseif(extension STREQUAL ".js")
    set(type "text/javascript; charset=utf-8")
  elseif(extension STREQUAL ".css")
    set(type "text/css; charset=utf-8")
  elseif(extension STREQUAL ".svg")
    set(type "image/svg+xml")
  else()
    message(FATAL_ERROR "${path}: no content type is known for ${extension}")
  endif()
  set(target "/${name}")
  if(name STREQUAL "index.html")
    set(target "/")
  endif()
  # Bytes as numbers: string literals have a length limit, and escapes of their own.
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND arrays "constexpr char kFile${number}[] = {${bytes}'\\0'};\n")
  string(APPEND table
    "    PageFile{\"${target}\", \"${type}\", std::string_view(kFile${number}, sizeof kFile${number} - 1)},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Written by cmake/embed_page.cmake.
#include \"server/page_files.h\"

#include <vector>

namespace bamba::server {
namespace {

${arrays}
}  // namespace

std::span<const PageFile> page_files() {
  static const std::vector<PageFile> files = {
${table}  };
  return files;
}

}  // namespace bamba::server
")
