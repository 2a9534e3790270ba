// Transformers' clean_up_tokenization: spaces before punctuation and English contractions go away.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace bamba {

/// Applied one after the other, each over the whole text.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kCleanUpRules{{{" .", "."},
                                                                                              {" ?", "?"},
                                                                                              {" !", "!"},
                                                                                              {" ,", ","},
                                                                                              {" ' ", "'"},
                                                                                              {" n't", "n't"},
                                                                                              {" 'm", "'m"},
                                                                                              {" 's", "'s"},
                                                                                              {" 've", "'ve"},
                                                                                              {" 're", "'re"}}};

std::string clean_up_tokenization(std::string text);

/// The same on a text that comes in pieces: the outputs joined equal clean_up_tokenization of the inputs joined.
class CleanUpStream {
 public:
  std::string push(std::string_view text);
  std::string finish();

 private:
  std::string run_from(size_t rule, std::string text, bool ending);
  std::array<std::string, kCleanUpRules.size()> held_;  // of each rule: the start of its pattern, seen so far
};

}  // namespace bamba
