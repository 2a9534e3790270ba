// Headers that are wrong in every way we could think of: each must be refused by a message that names file and tensor.
#include <gtest/gtest.h>

#include <string>

#include "base/str.h"
#include "io/raw_safetensors.h"
#include "io/safetensors.h"
#include "support/error.h"

namespace bamba {
namespace {

using test::raw_safetensors;

/// One tensor's member of the header.
std::string member(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return str('"', name, R"(":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, '}');
}

SafetensorsHeader parse(std::string_view file) {
  return parse_safetensors_header(file, "dir/model.safetensors");
}

void expect_refused(std::string_view file, std::initializer_list<std::string_view> words) {
  SCOPED_TRACE(file.substr(0, 200));
  test::expect_error(ErrorCode::invalid_checkpoint, words, [&] { parse(file); });
  test::expect_error(ErrorCode::invalid_checkpoint, {"dir/model.safetensors"}, [&] { parse(file); });
}
void expect_header_refused(const std::string& header, const std::string& data,
                           std::initializer_list<std::string_view> words) {
  expect_refused(raw_safetensors(header, data), words);
}

TEST(SafetensorsHeader, ReadsWhatIsRight) {
  const std::string header =
      std::string("{") + member("b", "BF16", "[2, 3]", "[8, 20]") + "," + R"("__metadata__":{"format":"pt","é":""},)" +
      member("a", "F64", "[]", "[0,8]") + "," + member("none", "F32", "[7,0,9223372036854775807]", "[8,8]") + "," +
      member("f8", "F8_E4M3", "[1]", "[20,21]") + "," + member("f8b", "F8_E5M2", "[0]", "[21,21]") + "}   ";
  const SafetensorsHeader parsed = parse(raw_safetensors(header, std::string(21, 'x')));
  ASSERT_EQ(parsed.tensors.size(), 5U);
  const SafetensorsEntry& b = parsed.tensors.at("b");
  EXPECT_EQ(b.dtype, DType::bf16);
  EXPECT_EQ(b.shape, (Shape{2, 3}));
  EXPECT_EQ(b.begin, 8 + header.size() + 8);
  EXPECT_EQ(b.bytes, 12U);
  EXPECT_EQ(parsed.tensors.at("a").shape, Shape{});
  EXPECT_EQ(parsed.tensors.at("none").bytes, 0U);
  EXPECT_EQ(parsed.tensors.at("f8").dtype, DType::f8_e4m3);
  EXPECT_EQ(parsed.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"é", ""}}));
  EXPECT_TRUE(parse(raw_safetensors("{}", "")).tensors.empty());
}

TEST(SafetensorsHeader, EveryDTypeIsKnown) {
  for (int i = 0; i < 15; ++i) {
    const auto dtype = static_cast<DType>(i);
    const size_t size = dtype_size(dtype);
    const std::string name(dtype_safetensors_name(dtype));
    const auto parsed = parse(raw_safetensors(
        std::string("{") + member("x", name, "[3]", str("[0,", 3 * size, "]")) + "}", std::string(3 * size, 'x')));
    EXPECT_EQ(parsed.tensors.at("x").dtype, dtype);
  }
}

TEST(SafetensorsHeader, RefusesTruncatedFiles) {
  const std::string whole = raw_safetensors(std::string("{") + member("x", "F32", "[2]", "[0,8]") + "}", "12345678");
  EXPECT_NO_THROW(parse(whole));
  for (size_t length = 0; length < whole.size(); ++length) expect_refused(whole.substr(0, length), {});
  expect_refused("", {"not a safetensors file", "0 bytes"});
  expect_refused(whole.substr(0, 7), {"not a safetensors file", "7 bytes"});
  expect_refused(whole.substr(0, 20), {"header claims", "12 follow", "truncated"});
  expect_refused(whole.substr(0, whole.size() - 1), {"\"x\"", "[0, 8]", "7 bytes", "truncated"});
}

TEST(SafetensorsHeader, RefusesLyingLengths) {
  for (const uint64_t claimed : {uint64_t{3}, uint64_t{100'000'000}}) {
    expect_refused(raw_safetensors("{}", "", claimed), {"claims", std::to_string(claimed), "2 follow"});
  }
  for (const uint64_t claimed : {uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    expect_refused(raw_safetensors("{}", "", claimed), {"claims", std::to_string(claimed), "at most 100000000"});
  }
  expect_refused(raw_safetensors("{}", "", 0), {"does not begin with '{'"});
  expect_refused(raw_safetensors("{}", "", 1), {"not valid JSON"});
}

TEST(SafetensorsHeader, RefusesWrongOffsets) {
  const std::string data(16, 'x');
  const auto one = [](const std::string& offsets) {
    return std::string("{") + member("x", "F32", "[2]", offsets) + "}";
  };
  for (const char* offsets : {"[8,0]", "[0,17]", "[16,24]", "[18446744073709551612,4]", "[0,18446744073709551615]"}) {
    expect_header_refused(one(offsets), data, {"\"x\"", "data_offsets", "16 bytes of tensor data"});
  }
  for (const char* offsets :
       {"[0]", "[]", "[0,8,16]", "[0,8.0]", "[-8,0]", "[0,\"8\"]", "[0,null]", "[0,18446744073709551616]"}) {
    expect_header_refused(one(offsets), data, {"\"x\"", "data_offsets", "[begin, end]"});
  }
  for (const char* offsets : {"8", "null", "\"0,8\"", "{\"a\":1}"}) {
    expect_header_refused(one(offsets), data, {"\"x\"", "data_offsets", "[begin, end]"});
  }
  expect_header_refused(one("[[0,8]]"), data, {"\"x\""});
  // The span is not what dtype and shape say.
  expect_header_refused(one("[0,16]"), data, {"\"x\"", "F32", "[2]", "8 bytes", "span 16"});
  expect_header_refused(one("[0,0]"), data, {"\"x\"", "8 bytes", "span 0"});
}

TEST(SafetensorsHeader, RefusesOverlapsAndGaps) {
  const auto two = [](const std::string& first, const std::string& second) {
    return std::string("{") + member("p", "U8", "[4]", first) + "," + member("q", "U8", "[4]", second) + "}";
  };
  EXPECT_NO_THROW(parse(raw_safetensors(two("[4,8]", "[0,4]"), "12345678")));
  expect_header_refused(two("[0,4]", "[3,7]"), "1234567", {"\"q\"", "overlaps", "\"p\""});
  expect_header_refused(two("[0,4]", "[0,4]"), "1234", {"\"q\"", "overlaps", "\"p\""});
  expect_header_refused(two("[0,4]", "[5,9]"), "123456789", {"\"q\"", "starts at byte 5", "ends at 4", "gap"});
  expect_header_refused(two("[1,5]", "[5,9]"), "123456789", {"\"p\"", "starts at byte 1", "gap"});
  expect_header_refused(two("[0,4]", "[4,8]"), "12345678tail", {"4 bytes after the last", "\"q\""});
  expect_header_refused("{}", "x", {"1 bytes after", "no tensor"});
  // An empty tensor takes no room, but must not lie inside another one or beyond the end of all.
  expect_header_refused(
      std::string("{") + member("p", "U8", "[4]", "[0,4]") + "," + member("z", "U8", "[0]", "[2,2]") + "}", "1234",
      {"\"z\"", "overlaps", "\"p\""});
}

TEST(SafetensorsHeader, RefusesOverflowingShapes) {
  const auto shaped = [](const std::string& shape) {
    return std::string("{") + member("x", "F32", shape, "[0,8]") + "}";
  };
  const std::string data = "12345678";
  // Products that are 8, or 0, once the top bits are lost.
  for (const char* shape : {"[4611686018427387906]", "[4294967296,4294967296]", "[9223372036854775807,2]",
                            "[4294967296,4294967296,0]", "[2305843009213693952,8]", "[3037000500,3037000500,2]"}) {
    expect_header_refused(shaped(shape), data, {"\"x\"", "63 bits"});
  }
  for (const char* shape : {"[9223372036854775808]", "[18446744073709551615]", "[18446744073709551616]", "[1e3]",
                            "[2.0]", "[-2]", "[\"2\"]", "[null]", "[true]", "[[2]]", "[{}]"}) {
    expect_header_refused(shaped(shape), data, {"\"x\"", "shape", "integers from 0 to 2^63 - 1"});
  }
  expect_header_refused(shaped("[1000000000000]"), data, {"\"x\"", "4000000000000 bytes", "span 8"});
  expect_header_refused(shaped("2"), data, {"\"x\"", "shape", "list of integers"});
  std::string ones = "[1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  expect_header_refused(shaped(ones + "]"), data, {"\"x\"", "more than 64 dimensions"});
}

TEST(SafetensorsHeader, RefusesNamesAndKeysTwice) {
  const std::string x = member("x", "U8", "[1]", "[0,1]");
  expect_header_refused(std::string("{") + x + "," + member("x", "U8", "[1]", "[1,2]") + "}", "12", {"\"x\"", "twice"});
  expect_header_refused(std::string("{") + x + "," + member("\\u0078", "U8", "[1]", "[1,2]") + "}", "12",
                        {"\"x\"", "twice"});
  expect_header_refused(R"({"__metadata__":{},"__metadata__":{}})", "", {"\"__metadata__\"", "twice"});
  expect_header_refused(R"({"__metadata__":{"k":"1","k":"2"}})", "", {"__metadata__", "\"k\"", "twice"});
  for (const char* key : {R"("dtype":"U8")", R"("shape":[1])", R"("data_offsets":[0,1])"}) {
    expect_header_refused(str("{", x.substr(0, x.size() - 1), ",", key, "}}"), "1", {"\"x\"", "twice"});
  }
}

TEST(SafetensorsHeader, RefusesMissingAndUnknownKeys) {
  expect_header_refused(R"({"x":{"shape":[1],"data_offsets":[0,1]}})", "1", {"\"x\"", "no dtype"});
  expect_header_refused(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})", "1", {"\"x\"", "no shape"});
  expect_header_refused(R"({"x":{"dtype":"U8","shape":[1]}})", "1", {"\"x\"", "no data_offsets"});
  expect_header_refused(R"({"x":{}})", "", {"\"x\"", "no dtype"});
  expect_header_refused(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"scale":2}})", "1",
                        {"\"x\"", "unknown key \"scale\""});
}

TEST(SafetensorsHeader, RefusesUnknownDTypes) {
  for (const char* dtype : {"F4", "f32", "", "float32", "C64"}) {
    expect_header_refused(std::string("{") + member("x", dtype, "[1]", "[0,4]") + "}", "1234",
                          {"\"x\"", str("unknown dtype \"", dtype, '"'), "BF16", "F8_E4M3"});
  }
  expect_header_refused(R"({"x":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", "1", {"\"x\"", "dtype", "a string"});
  expect_header_refused(R"({"x":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})", "1", {"\"x\"", "a string"});
}

TEST(SafetensorsHeader, RefusesWrongKindsOfValues) {
  for (const char* value : {"1", "null", "\"F32\"", "[1]", "true"}) {
    expect_header_refused(str("{\"x\":", value, "}"), "", {"\"x\"", "an object with dtype"});
    expect_header_refused(str("{\"__metadata__\":", value, "}"), "", {"__metadata__", "an object of strings"});
  }
  for (const char* value : {"1", "null", "{}", "[]", "true"}) {
    expect_header_refused(str("{\"__metadata__\":{\"k\":", value, "}}"), "", {"__metadata__", "\"k\"", "a string"});
  }
  for (const char* header : {"[]", "1", "", " {}", "\"x\"", "\xEF\xBB\xBF{}"}) {
    expect_header_refused(header, "", {"does not begin with '{'"});
  }
}

TEST(SafetensorsHeader, RefusesWhatIsNotJsonOrUtf8) {
  for (const std::string& header :
       {std::string("{"), std::string("{}x"), std::string("{\"x\":}"), std::string("{\"x\":NaN}"),
        std::string("{}\0{", 4), std::string("{}\0", 3), std::string("{\"\xff\":1}"), std::string("{\"\xc0\xaf\":1}"),
        std::string("{\"\xed\xa0\x80\":1}"), std::string("{\"\\ud800\":1}")}) {
    expect_header_refused(header, "", {"not valid JSON"});
  }
}

TEST(SafetensorsHeader, RefusesDeepNesting) {
  const std::string deep(1'000'000, '[');
  expect_header_refused(R"({"x":)" + deep, "", {"\"x\""});
  expect_header_refused(R"({"x":{"shape":)" + deep, "", {"\"x\""});
  expect_header_refused(R"({"__metadata__":{"k":)" + deep, "", {"\"k\""});
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"x\":";
  expect_header_refused(objects, "", {"\"x\""});
}

TEST(SafetensorsHeader, MessagesAreShortAndPrintable) {
  const std::string name = "\\u001b[2J" + std::string(100000, 'n');
  try {
    parse(raw_safetensors(std::string("{") + member(name, "F4", "[]", "[0,0]") + "}", ""));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    const std::string_view what = error.what();
    EXPECT_LT(what.size(), 600U);
    EXPECT_NE(what.find("\\x1b[2J"), what.npos) << what;
    EXPECT_EQ(what.find('\x1b'), what.npos);
  }
}

// 300,000 tensors: a quadratic reader would take minutes, and the test program's own limit would end it.
TEST(SafetensorsHeader, ManyTensorsTakeNoQuadraticTime) {
  std::string header = "{";
  constexpr size_t kTensors = 300000;
  for (size_t i = 0; i < kTensors; ++i) {
    header += std::string(i ? "," : "") +
              member(std::to_string(i * 7919 % kTensors), "U8", "[1]", str("[", i, ",", i + 1, "]"));
  }
  EXPECT_EQ(parse(raw_safetensors(header + "}", std::string(kTensors, 'x'))).tensors.size(), kTensors);
}

}  // namespace
}  // namespace bamba
