// bamba serve as a person starts and stops it; what it answers is tested in tests/server.
#include <gtest/gtest.h>

#include <csignal>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

TEST(Serve, SaysWhereItListensAndStopsWhenAsked) {
  const TempFolder folder;
  const std::string port_file = folder / "port";
  const ProgramResult result =
      stop_bamba({"serve", "-m", tiny_model(), "--port", "0", "--port-file", port_file, "--log-format", "json",
                  "--running-memory", "50MB", "--cache-memory", "10MB"},
                 30, SIGTERM);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(result.out.starts_with("listening on http://127.0.0.1:")) << result.out;
  const std::string port = read_text(port_file);
  EXPECT_TRUE(result.out.ends_with(":" + port)) << result.out << port;
  std::string events;
  for (size_t begin = 0; begin < result.err.size();) {
    const size_t end = std::min(result.err.find('\n', begin), result.err.size());
    const std::string line = result.err.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with('{')) events += nlohmann::json::parse(line).at("event").get<std::string>() + ' ';
  }
  // The signal may have come while the model was being loaded.
  EXPECT_TRUE(events == "listening ready draining stopped " || events == "listening stopped ") << events;
}

TEST(Serve, WrongFlagsAreNamed) {
  const std::vector<std::vector<std::string>> bad = {{"--port", "70000"},
                                                     {"--port", "http"},
                                                     {"--max-queue", "-1"},
                                                     {"--max-sequences", "0"},
                                                     {"--log-format", "xml"},
                                                     {"--max-body", "much"},
                                                     {"--running-memory", "5 apples"},
                                                     {"--header-seconds", "0"},
                                                     {"--drain-seconds", "-1"},
                                                     {"--http-workers", "0"}};
  for (const auto& words : bad) {
    std::vector<std::string> args = {"serve", "-m", tiny_model(), "--port", "0"};
    args.insert(args.end(), words.begin(), words.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 2) << words[0] << ' ' << words[1];
    EXPECT_NE(result.err.find(words[0]), std::string::npos) << result.err;
    EXPECT_TRUE(result.out.empty()) << result.out;
  }
  const ProgramResult both = run_bamba({"serve", "-m", tiny_model(), "--no-cache", "--state-dir", "x"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_NE(both.err.find("--no-cache goes without"), std::string::npos) << both.err;
}

TEST(Serve, WhatCannotBeHadIsSaidBeforeTheModelIsLoaded) {
  EXPECT_EQ(run_bamba({"serve", "-m", "/nonexistent/model", "--port", "0"}).exit_code, 4);
  const ProgramResult host = run_bamba({"serve", "-m", tiny_model(), "--host", "no.such.name.invalid", "--port", "0"});
  EXPECT_EQ(host.exit_code, 4);
  EXPECT_NE(host.err.find("--host"), std::string::npos) << host.err;
  EXPECT_EQ(run_bamba({"serve", "-m", tiny_model(), "--port-file", "/nonexistent/port", "--port", "0"}).exit_code, 4);
  EXPECT_EQ(run_bamba({"serve", "-m", tiny_model(), "--api-key-file", "/nonexistent/keys", "--port", "0"}).exit_code,
            4);
  const TempFolder folder;
  folder.put("keys", "# nothing here\n\n");
  EXPECT_EQ(run_bamba({"serve", "-m", tiny_model(), "--api-key-file", folder / "keys", "--port", "0"}).exit_code, 3);
  const ProgramResult key = run_bamba({"serve", "-m", tiny_model(), "--api-key", "two words", "--port", "0"});
  EXPECT_EQ(key.exit_code, 2);
  EXPECT_EQ(key.err.find("two words"), std::string::npos) << key.err;
}

}  // namespace
}  // namespace bamba::test
