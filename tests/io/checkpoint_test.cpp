// Checkpoint folders of one file or many: opening, refusing, and replacing one without ever leaving a mix.
#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/json.h"
#include "base/str.h"
#include "io/checkpoint_names.h"
#include "support/error.h"
#include "support/temp_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::expect_error;
using test::TempFolder;
using test::Warnings;
using Names = std::vector<std::string>;
using Declaration = SafetensorsWriter::Declaration;

constexpr const char* kIndex = "model.safetensors.index.json";

Tensor filled(float value) {
  Tensor out = Tensor::empty(DType::f32, {2});
  for (float& element : out.data<float>()) element = value;
  return out;
}

float first(const Checkpoint& checkpoint, std::string_view name) {
  return checkpoint.tensor(name).data<float>()[0];
}

/// Saves tensors named by the letters, each of 8 bytes, all of the given value.
void save(const std::filesystem::path& directory, const std::string& letters, float value, uint64_t max_shard_bytes) {
  std::vector<Declaration> tensors;
  for (const char letter : letters) tensors.push_back({std::string(1, letter), DType::f32, {2}});
  save_checkpoint(directory, tensors, max_shard_bytes, [&](const Declaration&, SafetensorsWriter& writer) {
    writer.append(filled(value).raw(), 4);
    writer.append(filled(value).raw(), 4);
  });
}

TEST(CheckpointIndex, ReadsTheWeightMap) {
  const auto map = parse_checkpoint_index(
      R"({"metadata":{"total_size":1,"x":[[{"weight_map":{"no":"no"}}],"weight_map"]},"weight_map":{"b":"two","a":"one"},"y":null})",
      "x");
  EXPECT_EQ(map, (std::map<std::string, std::string, std::less<>>{{"a", "one"}, {"b", "two"}}));
}

TEST(CheckpointIndex, RefusesWhatIsWrong) {
  const auto refused = [](std::string_view text, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(text.substr(0, 200));
    expect_error(ErrorCode::invalid_checkpoint, words, [&] { parse_checkpoint_index(text, "dir/index.json"); });
    expect_error(ErrorCode::invalid_checkpoint, {"dir/index.json"},
                 [&] { parse_checkpoint_index(text, "dir/index.json"); });
  };
  for (const char* text : {"", "{", "{}x", "{\"weight_map\":{\"a\":\"\xff\"}}", "{\"weight_map\":NaN}"}) {
    refused(text, {"not valid JSON"});
  }
  for (const char* text : {"[]", "1", "null", "\"weight_map\""}) refused(text, {"it must be an object"});
  refused("{}", {"no \"weight_map\""});
  refused(R"({"a":{"weight_map":{"x":"y"}}})", {"no \"weight_map\""});
  refused(R"({"weight_map":{}})", {"names no tensor"});
  for (const char* value : {"1", "null", "[]", "\"x\""}) {
    refused(str("{\"weight_map\":", value, "}"), {"\"weight_map\" is", "it must be an object"});
  }
  for (const char* value : {"1", "null", "{}", "[\"x\"]", "true"}) {
    refused(str("{\"weight_map\":{\"a\":", value, "}}"), {"tensor \"a\"", "a file name"});
  }
  refused(R"({"weight_map":{"a":"x","a":"y"}})", {"tensor \"a\"", "twice"});
  refused(R"({"weight_map":{"a":"x"},"weight_map":{"b":"y"}})", {"\"weight_map\"", "twice"});
  refused(str("{\"metadata\":", std::string(1000000, '[')), {"deeper than 64"});
}

TEST(CheckpointIndex, RefusesToLeaveTheFolder) {
  const auto refused = [](const std::string& file, std::string_view why) {
    SCOPED_TRACE(file);
    expect_error(ErrorCode::invalid_checkpoint, {"dir/index.json", "tensor \"a\"", why}, [&] {
      parse_checkpoint_index(str("{\"weight_map\":{\"a\":", Json(file).dump(), "}}"), "dir/index.json");
    });
  };
  for (const char* file : {"../x", "/etc/passwd", "a/b", "./x", "..\\x", "x/", "/"}) refused(file, "plain file name");
  for (const char* file : {".", ".."}) refused(file, "not a folder");
  refused("", "empty");
  refused(std::string("x\0y", 3), "control");
  refused("x\n", "control");
  refused(std::string(256, 'x'), "255 bytes");
}

TEST(Checkpoint, OpensASingleFile) {
  const TempFolder folder;
  save_safetensors(folder / "model.safetensors", {{"a", filled(1)}, {"b", filled(2)}});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.names(), (Names{"a", "b"}));
  EXPECT_EQ(checkpoint.total_bytes(), 16U);
  EXPECT_EQ(checkpoint.entry("b").shape, Shape{2});
  EXPECT_EQ(first(checkpoint, "b"), 2.0F);
  EXPECT_TRUE(checkpoint.contains("a"));
  EXPECT_FALSE(checkpoint.contains("c"));
  for (const auto& use : {std::function<void()>([&] { checkpoint.tensor("c"); }),
                          {[&] { checkpoint.entry("c"); }},
                          {[&] { checkpoint.release("c"); }}}) {
    expect_error(ErrorCode::invalid_checkpoint, {folder.path().string(), "\"c\""}, use);
  }
}

TEST(Checkpoint, OpensShards) {
  const TempFolder folder;
  save_safetensors(folder / "one", {{"a", filled(1)}, {"c", filled(3)}});
  save_safetensors(folder / "two", {{"b", filled(2)}});
  folder.put(kIndex, R"({"metadata":{"total_size":24},"weight_map":{"a":"one","b":"two","c":"one"}})");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.files().size(), 2U);
  EXPECT_EQ(checkpoint.names(), (Names{"a", "b", "c"}));
  EXPECT_EQ(checkpoint.total_bytes(), 24U);
  for (const auto& [name, value] : {std::pair{"a", 1.0F}, {"b", 2.0F}, {"c", 3.0F}}) {
    EXPECT_EQ(first(checkpoint, name), value);
    checkpoint.will_need(name);
    checkpoint.release(name);
    EXPECT_EQ(first(checkpoint, name), value);
  }
}

TEST(Checkpoint, FollowsLinksOfADownloadCache) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "blobs");
  std::filesystem::create_directory(folder / "snapshot");
  save_safetensors(folder / "blobs/1234", {{"a", filled(1)}});
  std::filesystem::create_symlink("../blobs/1234", folder / "snapshot/model.safetensors");
  EXPECT_EQ(first(Checkpoint::open(folder / "snapshot"), "a"), 1.0F);
}

TEST(Checkpoint, NamesWhatDoesNotMatchTheIndex) {
  const TempFolder folder;
  save_safetensors(folder / "one", {{"a", filled(1)}, {"c", filled(3)}});
  save_safetensors(folder / "two", {{"b", filled(2)}});
  const auto refused = [&](std::string_view weight_map, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(weight_map);
    folder.put(kIndex, str("{\"weight_map\":", weight_map, "}"));
    expect_error(ErrorCode::invalid_checkpoint, words, [&] { Checkpoint::open(folder.path()); });
    expect_error(ErrorCode::invalid_checkpoint, {folder.path().string()}, [&] { Checkpoint::open(folder.path()); });
  };
  refused(R"({"a":"one","b":"three","c":"one"})", {"index.json", "\"three\"", "\"b\"", "missing"});
  refused(R"({"a":"one","b":"two"})", {(folder / "one").string(), "\"c\"", "not in the index"});
  refused(R"({"a":"one","b":"two","c":"two"})", {(folder / "one").string(), "\"c\"", "puts it in \"two\""});
  refused(R"({"a":"one","b":"two","c":"one","d":"two"})", {"index.json", "\"d\"", "\"two\"", "does not hold it"});
  refused(R"({"a":"../one"})", {"\"a\"", "\"../one\""});
  // A tensor in two shards.
  save_safetensors(folder / "two", {{"a", filled(9)}, {"b", filled(2)}});
  refused(R"({"a":"one","b":"two","c":"one"})", {(folder / "two").string(), "\"a\"", "puts it in \"one\""});
  // A truncated shard.
  std::filesystem::resize_file(folder / "two", std::filesystem::file_size(folder / "two") - 1);
  refused(R"({"a":"one","b":"two","c":"one"})", {(folder / "two").string(), "truncated"});
}

TEST(Checkpoint, SaysWhichFilesItLookedFor) {
  const TempFolder folder;
  expect_error(ErrorCode::invalid_checkpoint, {folder.path().string(), "model.safetensors", kIndex},
               [&] { Checkpoint::open(folder.path()); });
  expect_error(ErrorCode::invalid_checkpoint, {(folder / "no").string()}, [&] { Checkpoint::open(folder / "no"); });
}

TEST(Checkpoint, ASingleFileWinsOverAnIndexWithAWarning) {
  const TempFolder folder;
  save_safetensors(folder / "model.safetensors", {{"a", filled(1)}});
  save_safetensors(folder / "one", {{"a", filled(2)}});
  folder.put(kIndex, R"({"weight_map":{"a":"one"}})");
  const Warnings warnings;
  EXPECT_EQ(first(Checkpoint::open(folder.path()), "a"), 1.0F);
  EXPECT_TRUE(warnings.mention(kIndex)) << warnings.text();
}

TEST(SaveCheckpoint, OneFileOrShards) {
  const TempFolder folder;
  save(folder / "new/one", "abcde", 1, 40);
  EXPECT_EQ(Checkpoint::open(folder / "new/one").files().size(), 1U);
  EXPECT_TRUE(std::filesystem::exists(folder / "new/one/model.safetensors"));

  save(folder.path(), "abcde", 1, 39);
  std::filesystem::remove_all(folder / "new");
  EXPECT_EQ(folder.list(), (Names{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", kIndex}));
  const Json index = Json::parse(folder.get(kIndex));
  EXPECT_EQ(index["metadata"]["total_size"], 40);
  EXPECT_EQ(index["weight_map"]["d"], "model-00001-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["e"], "model-00002-of-00002.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.names(), (Names{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(checkpoint.total_bytes(), 40U);
  for (const auto& file : checkpoint.files()) EXPECT_EQ(file.header().metadata.at("format"), "pt");

  // Tensors larger than a shard may be get one each.
  save(folder.path(), "abc", 2, 1);
  EXPECT_EQ(Checkpoint::open(folder.path()).files().size(), 3U);
}

TEST(SaveCheckpoint, ShardNames) {
  EXPECT_EQ(shard_name(1, 4), "model-00001-of-00004.safetensors");
  EXPECT_EQ(shard_name(123456, 123456), "model-123456-of-123456.safetensors");
  EXPECT_TRUE(is_shard_name(shard_name(3, 12)));
  EXPECT_TRUE(is_shard_name(shard_name(123456, 123456)));
  for (const char* name : {"model.safetensors", "model-1-of-4.safetensors", "model-00001-of-00004.safetensors.tmp",
                           "my-model-00001-of-00004.safetensors", "model-00001-of-.safetensors", "model-"}) {
    EXPECT_FALSE(is_shard_name(name)) << name;
  }
}

// Every pair of an older and a newer form: only the newer one is left, and other files are not touched.
TEST(SaveCheckpoint, ReplacesOlderWeightsOfAnyForm) {
  for (const uint64_t older : {8, 16, 100}) {
    for (const uint64_t newer : {8, 16, 100}) {
      SCOPED_TRACE(str(older, " -> ", newer));
      const TempFolder folder;
      folder.put("config.json", "{}");
      folder.put("adapter-00001.safetensors", "mine");
      save(folder.path(), "abcd", 1, older);
      save(folder.path(), "abcd", 2, newer);
      const size_t count = newer == 8 ? 4 : newer == 16 ? 2 : 1;
      const Warnings warnings;
      const Checkpoint checkpoint = Checkpoint::open(folder.path());
      EXPECT_EQ(warnings.text(), "");
      EXPECT_EQ(checkpoint.files().size(), count);
      for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(first(checkpoint, name), 2.0F);
      EXPECT_EQ(folder.list().size(), 2 + count + (count > 1 ? 1 : 0));
      EXPECT_EQ(folder.get("adapter-00001.safetensors"), "mine");
    }
  }
}

TEST(SaveCheckpoint, AFailureLeavesTheOlderFiles) {
  for (const uint64_t older : {8, 100}) {
    for (const uint64_t newer : {8, 16, 100}) {
      SCOPED_TRACE(str(older, " -> ", newer));
      const TempFolder folder;
      save(folder.path(), "abcd", 1, older);
      const Names before = folder.list();
      const std::vector<Declaration> tensors = {
          {"a", DType::f32, {2}}, {"b", DType::f32, {2}}, {"c", DType::f32, {2}}, {"d", DType::f32, {2}}};
      const auto fails_at_last = [&](const auto& failure) {
        save_checkpoint(folder.path(), tensors, newer, [&](const Declaration& tensor, SafetensorsWriter& writer) {
          if (tensor.name == "d") return failure(writer);
          writer.append(filled(2).raw(), 8);
        });
      };
      EXPECT_THROW(fails_at_last([](SafetensorsWriter&) { throw std::runtime_error("no"); }), std::runtime_error);
      expect_error(ErrorCode::internal, {folder.path().string(), "\"d\""},
                   [&] { fails_at_last([](SafetensorsWriter& writer) { writer.append("1234", 4); }); });
      expect_error(ErrorCode::internal, {folder.path().string()},
                   [&] { fails_at_last([](SafetensorsWriter& writer) { writer.append("123456789", 9); }); });
      EXPECT_EQ(folder.list(), before);
      const Checkpoint checkpoint = Checkpoint::open(folder.path());
      for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(first(checkpoint, name), 1.0F);
    }
  }
}

// A death between two renamings is played by a folder that stands in the way of the second shard.
TEST(SaveCheckpoint, NeverLeavesAMixOfTwoCheckpoints) {
  const TempFolder folder;
  save(folder.path(), "abcd", 1, 16);
  std::filesystem::remove(folder / "model-00002-of-00002.safetensors");
  std::filesystem::create_directory(folder / "model-00002-of-00002.safetensors");
  expect_error(ErrorCode::io, {"model-00002-of-00002.safetensors"}, [&] { save(folder.path(), "abcd", 2, 16); });
  expect_error(ErrorCode::invalid_checkpoint, {kIndex}, [&] { Checkpoint::open(folder.path()); });
}

TEST(SaveCheckpoint, RefusesWrongArguments) {
  const TempFolder folder;
  const auto fill = [](const Declaration&, SafetensorsWriter&) {};
  expect_error(ErrorCode::invalid_argument, {"max_shard_bytes"}, [&] { save(folder.path(), "a", 1, 0); });
  expect_error(ErrorCode::invalid_argument, {folder.path().string()}, [&] { save(folder.path(), "", 1, 8); });
  // Twice in one shard, and in two.
  for (const uint64_t bytes : {8, 100}) {
    expect_error(ErrorCode::invalid_argument, {"\"a\"", "twice"}, [&] { save(folder.path(), "aa", 1, bytes); });
  }
  expect_error(ErrorCode::invalid_argument, {"\"x\"", "[-1]"}, [&] {
    save_checkpoint(folder.path(), {{"x", DType::f32, {-1}}}, 8, fill);
  });
  expect_error(ErrorCode::io, {(folder / "file/dir").string()}, [&] {
    folder.put("file", "");
    save(folder / "file/dir", "a", 1, 8);
  });
}

}  // namespace
}  // namespace bamba
