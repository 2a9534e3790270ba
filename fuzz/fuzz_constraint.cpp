// Bytes taken as a constraint: a first byte of r, g or j says whether a regex, a grammar or a JSON schema follows. It
// compiles or gives Error(invalid_argument), and what compiles has tokens to choose from until it ends.
#include <bamba/constraint.h>
#include <bamba/error.h>
#include <bamba/progress.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

const bamba::TokenVocabulary& vocabulary() {
  static const bamba::TokenVocabulary made = [] {
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* word : {"ab", "\": ", "\",", "{\"", "\xC3\xA9", "12", "]]"}) tokens.emplace_back(word);
    const auto eos = static_cast<int64_t>(tokens.size());
    return bamba::TokenVocabulary(tokens, {&eos, 1});
  }();
  return made;
}

bamba::Constraint compile(char kind, std::string_view text) {
  if (kind == 'r') return bamba::Constraint::regex(text, vocabulary());
  if (kind == 'g') return bamba::Constraint::grammar(text, vocabulary());
  return bamba::Constraint::json_schema(text, vocabulary());
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  bamba::set_warning_handler({});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bamba;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Constraint constraint = compile(text[0], text.substr(1));
    ConstraintState state(constraint);
    for (size_t step = 0; step < 20 && !state.finished(); ++step) {
      const auto mask = state.mask();
      const int64_t count = mask->count();
      if (count == 0) std::abort();
      // Some allowed token, as the input has it.
      int64_t wanted = data[step % size] % count;
      int64_t id = 0;
      while (!mask->allows(id) || wanted-- > 0) ++id;
      if (!state.accept(id)) std::abort();
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) std::abort();
  }
  return 0;
}
