// Whole safetensors files, written and read back; what their headers may say is safetensors_header_test.cpp's.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/json.h"
#include "io/raw_safetensors.h"
#include "io/safetensors.h"
#include "support/error.h"
#include "support/golden_path.h"
#include "support/temp_folder.h"

namespace bamba {
namespace {

using test::expect_error;
using test::TempFolder;
using Names = std::vector<std::string>;

Tensor counting(DType dtype, Shape shape) {
  Tensor out = Tensor::empty(dtype, std::move(shape));
  auto* bytes = static_cast<unsigned char*>(out.raw());
  for (size_t i = 0; i < out.nbytes(); ++i) bytes[i] = static_cast<unsigned char>(i * 37 + 11);
  return out;
}

void expect_same(const Tensor& actual, const Tensor& expected) {
  EXPECT_EQ(actual.dtype(), expected.dtype());
  EXPECT_EQ(actual.shape(), expected.shape());
  ASSERT_EQ(actual.nbytes(), expected.nbytes());
  EXPECT_EQ(std::memcmp(actual.raw(), expected.raw(), expected.nbytes()), 0);
}

TEST(Safetensors, EveryTypeSurvivesARoundTrip) {
  const TempFolder folder;
  NamedTensors tensors;
  for (int i = 0; i < 15; ++i) {
    const auto dtype = static_cast<DType>(i);
    const std::string name(dtype_safetensors_name(dtype));
    tensors.emplace_back(name + ".odd", counting(dtype, {3, 1, 5}));
    tensors.emplace_back(name + ".scalar", counting(dtype, {}));
    tensors.emplace_back(name + ".none", counting(dtype, {4, 0}));
  }
  tensors.emplace_back("a \"name\" \\ é \n", counting(DType::f32, {1}));
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"k\"", "é\n"}};
  save_safetensors(folder / "x.safetensors", tensors, metadata);
  EXPECT_EQ(folder.list(), Names{"x.safetensors"});

  const SafetensorsFile file = SafetensorsFile::open(folder / "x.safetensors");
  EXPECT_EQ(file.header().tensors.size(), tensors.size());
  EXPECT_EQ(file.header().metadata, metadata);
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(file.contains(name));
    expect_same(file.tensor(name), tensor);
    // save_safetensors orders tensors so that none needs a copy.
    const auto* start = file.file()->data();
    const auto* data = static_cast<const std::byte*>(file.tensor(name).raw());
    EXPECT_TRUE(data >= start && data <= start + file.file()->size());
  }
}

TEST(Safetensors, DataStartsAtACacheLine) {
  const TempFolder folder;
  for (size_t length = 0; length < 70; ++length) {
    save_safetensors(folder / "x", {{std::string(length, 'n'), counting(DType::u8, {5})}});
    EXPECT_EQ(SafetensorsFile::open(folder / "x").header().tensors.begin()->second.begin % 64, 0U);
  }
}

TEST(Safetensors, NoTensorAtAll) {
  const TempFolder folder;
  save_safetensors(folder / "x", {}, {});
  EXPECT_TRUE(SafetensorsFile::open(folder / "x").header().tensors.empty());
}

TEST(Safetensors, MisalignedDataIsCopied) {
  const TempFolder folder;
  std::string data = "?12345678";
  const double value = 1.25;
  std::memcpy(data.data() + 1, &value, 8);
  const std::string header = R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})";
  for (size_t padding = 0; padding < 8; ++padding) {
    folder.put("x", test::raw_safetensors(header + std::string(padding, ' '), data));
    const Tensor tensor = SafetensorsFile::open(folder / "x").tensor("b");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.raw()) % 8, 0U);
    EXPECT_EQ(tensor.data<double>()[0], value);
  }
}

TEST(Safetensors, TensorsKeepTheMapAlive) {
  const TempFolder folder;
  const Tensor written = counting(DType::i32, {1000});
  save_safetensors(folder / "x", {{"x", written}});
  const Tensor tensor = SafetensorsFile::open(folder / "x").tensor("x");
  std::filesystem::remove(folder / "x");
  expect_same(tensor, written);
}

TEST(Safetensors, NamesWhatIsMissing) {
  const TempFolder folder;
  save_safetensors(folder / "x", {{"x", counting(DType::u8, {1})}});
  const auto file = SafetensorsFile::open(folder / "x");
  expect_error(ErrorCode::invalid_checkpoint, {(folder / "x").string(), "\"y\""}, [&] { file.tensor("y"); });
  expect_error(ErrorCode::io, {(folder / "z").string()}, [&] { SafetensorsFile::open(folder / "z"); });
  expect_error(ErrorCode::invalid_checkpoint, {(folder / "empty").string(), "0 bytes"},
               [&] { SafetensorsFile::open(folder.put("empty", "")); });
}

TEST(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const TempFolder folder;
  folder.put("x", "old");
  const Tensor tensor = counting(DType::u8, {1});
  const auto refused = [&](const NamedTensors& tensors, std::initializer_list<std::string_view> words) {
    expect_error(ErrorCode::invalid_argument, words, [&] { save_safetensors(folder / "x", tensors); });
  };
  const std::string path = (folder / "x").string();
  refused({{"a", tensor}, {"a", tensor}}, {path, "\"a\"", "twice"});
  refused({{"__metadata__", tensor}}, {path, "\"__metadata__\"", "reserves"});
  refused({{"a\xff", tensor}}, {path, "\"a\\xff\"", "UTF-8"});
  const auto declared = [&](const Shape& shape) { SafetensorsWriter(folder / "x", {{"big", DType::f32, shape}}); };
  expect_error(ErrorCode::invalid_argument, {path, "\"big\"", "[-1]"}, [&] { declared({-1}); });
  expect_error(ErrorCode::invalid_argument, {path, "\"big\""}, [&] { declared({int64_t{1} << 62}); });
  expect_error(ErrorCode::invalid_argument, {path, "\"second\""}, [&] {
    const int64_t half = (std::numeric_limits<int64_t>::max)() / 2 + 1;
    SafetensorsWriter(folder / "x", {{"first", DType::u8, {half}}, {"second", DType::u8, {half}}});
  });
  EXPECT_EQ(folder.get("x"), "old");
  EXPECT_EQ(folder.list(), Names{"x"});
}

TEST(SafetensorsWriter, TakesPiecesAndCountsThem) {
  const TempFolder folder;
  folder.put("x", "old");
  {
    SafetensorsWriter writer(folder / "x", {{"a", DType::f32, {2}}, {"b", DType::u8, {3}}});
    writer.append("1234", 4);
    writer.append("567", 3);
    expect_error(ErrorCode::internal, {(folder / "x").string(), "7 bytes", "11"}, [&] { writer.commit(); });
    expect_error(ErrorCode::internal, {(folder / "x").string(), "12 bytes", "11"}, [&] { writer.append("89012", 5); });
  }
  EXPECT_EQ(folder.get("x"), "old");
  EXPECT_EQ(folder.list(), Names{"x"});
  {
    SafetensorsWriter writer(folder / "x", {{"a", DType::f32, {2}}, {"b", DType::u8, {3}}});
    writer.append("1234567", 7);
    writer.append("8abc", 4);
    EXPECT_EQ(writer.written(), 11U);
    EXPECT_EQ(folder.get("x"), "old");
    writer.commit();
  }
  const auto file = SafetensorsFile::open(folder / "x");
  EXPECT_EQ(std::memcmp(file.tensor("a").raw(), "12345678", 8), 0);
  EXPECT_EQ(std::memcmp(file.tensor("b").raw(), "abc", 3), 0);
}

// Files that Hugging Face's own library wrote.
TEST(Safetensors, ReadsTheGoldenModels) {
  for (const std::string& name : test::golden_models()) {
    SCOPED_TRACE(name);
    const auto directory = test::golden_path(name);
    const auto file = SafetensorsFile::open(directory / "model.safetensors");
    const Json config = parse_json_file(directory / "config.json", ErrorCode::invalid_config);
    const auto vocab = config["vocab_size"].get<int64_t>();
    const auto hidden = config["hidden_size"].get<int64_t>();
    const DType dtype = name == "j_real_dims" ? DType::bf16 : DType::f32;
    EXPECT_EQ(file.header().metadata.at("format"), "pt");
    const Tensor embedding = file.tensor("model.embed_tokens.weight");
    EXPECT_EQ(embedding.shape(), (Shape{vocab, hidden}));
    EXPECT_EQ(embedding.dtype(), dtype);
    EXPECT_EQ(file.contains("lm_head.weight"), !config["tie_word_embeddings"].get<bool>());
    for (const auto& [tensor, entry] : file.header().tensors) {
      EXPECT_EQ(file.tensor(tensor).nbytes(), entry.bytes) << tensor;
    }
    // The norms were drawn around 1, so a wrong offset or type would show.
    const Tensor norm = file.tensor("model.final_layernorm.weight").to(DType::f32);
    for (const float value : norm.data<float>()) {
      EXPECT_GT(value, -8.0F);
      EXPECT_LT(value, 8.0F);
    }
  }
}

}  // namespace
}  // namespace bamba
