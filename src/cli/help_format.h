// How --help looks: CLI11's layout with long descriptions folded and its internals ({false}, Excludes) left out.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace bamba::cli {

class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
};

}  // namespace bamba::cli
