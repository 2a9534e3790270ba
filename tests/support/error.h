// Expecting errors by code and by what their message names.
#pragma once

#include <bamba/error.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace bamba::test {

/// Runs `body`, which must throw an Error of that code whose message contains every one of `words`.
template <typename Body>
void expect_error(ErrorCode code, std::initializer_list<std::string_view> words, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error_code_name(error.code()), error_code_name(code)) << error.what();
    for (const std::string_view word : words) {
      EXPECT_NE(std::string_view(error.what()).find(word), std::string_view::npos)
          << "the message should contain: " << word << "\nand is: " << error.what();
    }
    return;
  }
  ADD_FAILURE() << "nothing was thrown; expected " << error_code_name(code);
}

}  // namespace bamba::test
