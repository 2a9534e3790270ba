#include "cli/help_format.h"

#include <sstream>
#include <string_view>

namespace bamba::cli {
namespace {

constexpr size_t kNameWidth = 36;
constexpr size_t kLineWidth = 112;

}  // namespace

std::string HelpFormat::make_option(const CLI::Option* option, bool is_positional) const {
  std::string name = "  " + make_option_name(option, is_positional);
  constexpr std::string_view kOff = "{false}";
  for (size_t at = name.find(kOff); at != std::string::npos; at = name.find(kOff)) name.erase(at, kOff.size());
  if (option->get_type_size() != 0 && !option->get_type_name().empty()) name += ' ' + option->get_type_name();

  std::string text = std::move(name);
  const std::string margin(kNameWidth, ' ');
  if (text.size() + 2 > kNameWidth) {
    text += '\n' + margin;
  } else {
    text.resize(kNameWidth, ' ');
  }
  std::istringstream words(option->get_description());
  size_t column = kNameWidth;
  for (std::string word; words >> word; column += word.size() + 1) {
    if (column > kNameWidth && column + word.size() > kLineWidth) {
      text += '\n' + margin;
      column = kNameWidth;
    }
    if (column > kNameWidth) text += ' ';
    text += word;
  }
  return text + '\n';
}

}  // namespace bamba::cli
