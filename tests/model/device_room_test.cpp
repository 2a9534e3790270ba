// What a model needs of a device's memory, and what is said where there is less.
#include "model/device_room.h"

#include <bamba/error.h>
#include <bamba/model.h>
#include <gtest/gtest.h>

#include "model/random_model.h"

namespace bamba::test {
namespace {

TEST(DeviceRoom, IsWhatALoadedModelHolds) {
  for (const uint64_t seed : {1, 2, 3}) {
    Rng rng(seed);
    const BambaConfig config = random_config(rng);
    const auto device = backend::make_cpu_backend(1);
    const auto held = [&](WeightFormat format) {
      RunOptions options;
      options.weights = format;
      const ModelInfo info = random_model(config, seed, options).model().info();
      return info.weight_bytes + info.state_bytes;
    };
    EXPECT_EQ(least_device_bytes(config, WeightFormat::q8, *device), held(WeightFormat::q8));
    EXPECT_EQ(least_device_bytes(config, WeightFormat::q4, *device), held(WeightFormat::q4));
    EXPECT_LE(least_device_bytes(config, WeightFormat::f32, *device),
              held(WeightFormat::f32));  // rows are padded there
    EXPECT_LT(least_device_bytes(config, WeightFormat::bf16, *device),
              least_device_bytes(config, WeightFormat::f32, *device));
  }
}

TEST(DeviceRoom, IsAskedForBeforeLoading) {
  // Wide enough that the padding of quantized rows does not outweigh what they save.
  BambaConfig config;
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.vocab_size = 512;
  config.num_hidden_layers = 2;
  config.attn_layer_indices = {1};
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.mamba_n_heads = 8;
  config.mamba_d_head = 64;
  config.mamba_d_state = 64;
  config.validate();
  const auto device = backend::make_cpu_backend(1);
  const size_t needed = least_device_bytes(config, WeightFormat::f32, *device);
  EXPECT_NO_THROW(check_device_room(config, WeightFormat::f32, *device, {}));  // the host's memory
  EXPECT_NO_THROW(check_device_room(config, WeightFormat::f32, *device, {needed + 100, 100, 100}));
  try {
    check_device_room(config, WeightFormat::f32, *device, {needed + 100, 101, 101});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    const std::string text = error.what();
    for (const char* part : {"as f32", "--gpu-memory", "--weights bf16 needs", "--weights q4 needs"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
  // Formats that would take as much or more are no way out.
  const std::string text = device_room_text(config, WeightFormat::q8, *device, 1);
  EXPECT_EQ(text.find("--weights bf16"), std::string::npos) << text;
  EXPECT_EQ(text.find("--weights q8"), std::string::npos) << text;
}

}  // namespace
}  // namespace bamba::test
