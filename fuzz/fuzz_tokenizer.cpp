// Bytes taken as a tokenizer.json: it loads or gives an Error, and what loads must encode, decode and stream.
#include <bamba/error.h>
#include <bamba/progress.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tokenizer/jinja/template.h"
#include "tokenizer/tokenizer_impl.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  bamba::set_warning_handler({});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bamba;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    // A template is a second language with its own parser: inputs that start with '{{' or '{%' are templates.
    if (text.starts_with("{{") || text.starts_with("{%")) {
      (void)jinja::Template(text, "fuzz").render_json(R"({"messages":[{"role":"user","content":"Hi é"}],"n":3})");
      return 0;
    }
    const Tokenizer tokenizer(parse_tokenizer(text, "fuzz"));
    const std::string_view sample = "Hello  wörld 123 <|x|> \n\t日本 \xff\xf0\x9f\x98";
    const Encoding encoding = tokenizer.encode_with_offsets(sample);
    if (tokenizer.encode(sample) != encoding.ids || encoding.offsets.size() != encoding.ids.size()) std::abort();
    (void)tokenizer.encode_pair(sample, "x");
    StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (const int64_t id : encoding.ids) streamed += stream.push(id);
    streamed += stream.finish();
    if (streamed != tokenizer.decode(encoding.ids)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
