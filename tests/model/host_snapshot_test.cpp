// States as bytes in host memory: restored they continue bit for bit.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/host_snapshot.h"
#include "model/random_model.h"
#include "support/error.h"
#include "support/same_bits.h"

namespace bamba {
namespace {

using test::Rng;

std::vector<float> read(const BambaForCausalLM& model, SequenceState& state, std::span<const int64_t> ids) {
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  input.logits = LogitsToKeep::all;
  const RaggedOutput output = model.forward({&input, 1});
  const auto data = output.logits.data<float>();
  return {data.begin(), data.end()};
}

BambaConfig both_kinds_of_layer(Rng& rng) {
  BambaConfig config = test::random_config(rng);
  config.attn_layer_indices = {1};
  return config;
}

/// The same bytes as a snapshot from a device whose memory is not the host's, or from a file: one part, no buffers.
HostSnapshot copied(const HostSnapshot& snapshot) {
  auto out = std::make_shared<HostSnapshot::Impl>();
  out->layout = snapshot.impl().layout;
  out->length = snapshot.impl().length;
  auto memory = std::make_shared<std::vector<std::byte>>();
  for (const auto& part : snapshot.impl().parts) memory->insert(memory->end(), part.begin(), part.end());
  out->parts.emplace_back(*memory);
  out->memory = std::move(memory);
  return HostSnapshot(std::move(out));
}

TEST(HostSnapshot, ContinuesBitForBitAlsoWhenPagesGrewSince) {
  for (const KvFormat kv : {KvFormat::f32, KvFormat::bf16}) {
    for (const int64_t length : {1, 63, 64, 65, 150}) {
      SCOPED_TRACE(testing::Message() << kv_format_name(kv) << ", " << length << " tokens");
      Rng rng(5);
      const BambaConfig config = both_kinds_of_layer(rng);
      RunOptions options;
      options.threads = 1;
      options.kv = kv;
      const BambaForCausalLM model = test::random_model(config, 3, options);
      const std::vector<int64_t> ids = rng.ids(length, config.vocab_size);
      const std::vector<int64_t> tail = rng.ids(70, config.vocab_size);  // past the end of a page
      SequenceState state = model.new_state();
      read(model, state, ids);
      const HostSnapshot snapshot = state.to_host();
      EXPECT_EQ(snapshot.length(), length);
      EXPECT_EQ(snapshot.bytes(), state.bytes());
      const HostSnapshot copy = copied(snapshot);
      // The state goes on and takes more pages: what was copied or shared must not follow.
      const std::vector<float> expected = read(model, state, tail);
      state.reset();
      for (const HostSnapshot& source : {snapshot, copy}) {
        SequenceState restored = model.model().restore(source);
        EXPECT_EQ(restored.length(), length);
        EXPECT_TRUE(test::same_bits(read(model, restored, tail), expected));
        // And a second time: the first one's going on has not touched the snapshot.
        SequenceState again = model.model().restore(source);
        EXPECT_TRUE(test::same_bits(read(model, again, tail), expected));
      }
    }
  }
}

TEST(HostSnapshot, AnEmptyOrForeignOneIsRefused) {
  Rng rng(6);
  const BambaConfig config = both_kinds_of_layer(rng);
  RunOptions options;
  options.threads = 1;
  const BambaForCausalLM model = test::random_model(config, 3, options);
  test::expect_error(ErrorCode::invalid_argument, {"empty"}, [] { static_cast<void>(SequenceState().to_host()); });
  test::expect_error(ErrorCode::invalid_argument, {"empty"}, [&] { model.model().restore({}); });
  EXPECT_EQ(HostSnapshot().length(), 0);
  EXPECT_EQ(HostSnapshot().bytes(), 0U);
  const HostSnapshot own = model.new_state().to_host();
  const BambaForCausalLM other = test::random_model(config, 4, options);
  test::expect_error(ErrorCode::invalid_argument, {"another model"}, [&] { other.model().restore(own); });
  options.kv = KvFormat::bf16;
  const BambaForCausalLM narrow = test::random_model(config, 3, options);
  test::expect_error(ErrorCode::invalid_argument, {"KvFormat"}, [&] { narrow.model().restore(own); });
  HostSnapshot::Impl longer = copied(own).impl();
  longer.length = 1000;
  test::expect_error(ErrorCode::invalid_argument, {"1000 tokens"},
                     [&] { model.model().restore(HostSnapshot(std::make_shared<HostSnapshot::Impl>(longer))); });
}

}  // namespace
}  // namespace bamba
