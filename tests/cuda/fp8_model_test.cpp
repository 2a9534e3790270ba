// Models of fp8 weights on the GPU: what they stand for, exactly, in f32 on the CPU. (With bf16 activations, products
// are held to their sums in CudaWeights and CudaFp8; random models make of such roundings anything from 0.5 to 9 % of
// the largest logit, on the CPU too.)
#include <bamba/model.h>
#include <bamba/quantize.h>

#include "cuda/device.h"
#include "cuda/model_support.h"
#include "model/random_model.h"
#include "support/fp8_blocks.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

class CudaFp8Model : public ::testing::TestWithParam<int> {};

/// Prompts, then decoding: `gpu` is `cpu` within the roundings of f32 sums, and `same` is `gpu` to the bit.
void expect_agreement(const BambaForCausalLM& gpu, const BambaForCausalLM& cpu, const BambaForCausalLM& same,
                      Rng& rng) {
  Batch on_gpu(gpu);
  Batch on_cpu(cpu);
  Batch on_same(same);
  const int64_t vocab = gpu.config().vocab_size;
  std::vector<std::vector<int64_t>> tokens;
  for (int i = 0; i < 3; ++i) {
    for (Batch* batch : {&on_gpu, &on_cpu, &on_same}) batch->add();
    tokens.push_back(rng.ids(rng.one_of<int64_t>({1, 2, 17, 33, 64, 100}), vocab));
  }
  for (int step = 0; step < 6; ++step) {
    const Tensor reference = on_cpu.run(tokens);
    const Tensor result = on_gpu.run(tokens);
    ASSERT_LE(difference(result, reference), 1e-4 * largest(reference)) << "step " << step;
    ASSERT_EQ(difference(on_same.run(tokens), result), 0) << "step " << step;
    for (auto& each : tokens) each = rng.ids(1, vocab);
  }
}

/// Rounded from a parent, or read as a checkpoint's own.
TEST_P(CudaFp8Model, RowsAgreeWithTheirWeightsInF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  BambaConfig config = random_config(rng);
  config.dtype = DType::bf16;
  const TempFolder folder;
  random_model(config, seed, options("cpu", WeightFormat::bf16)).save_pretrained(folder / "parent");
  QuantizeOptions quantize;
  quantize.weights = WeightFormat::fp8;
  quantize.method = QuantizeMethod::nearest;
  quantize.threads = 2;
  quantize_checkpoint(folder / "parent", folder / "fp8", quantize);
  const auto cpu = BambaForCausalLM::from_pretrained(folder / "fp8", options("cpu", WeightFormat::f32));

  RunOptions exact = options("cuda", WeightFormat::fp8);
  exact.activations = ActivationFormat::f32;
  const auto from_parent = BambaForCausalLM::from_pretrained(folder / "parent", exact);
  exact.weights.reset();  // the checkpoint's own
  const auto gpu = BambaForCausalLM::from_pretrained(folder / "fp8", exact);
  EXPECT_EQ(gpu.model().info().weights, WeightFormat::fp8);
  EXPECT_LT(gpu.model().info().weight_bytes, cpu.model().info().weight_bytes / 2);
  expect_agreement(gpu, cpu, from_parent, rng);
}

/// Scales for blocks: those of 128 x 128 are kept, weights with others are widened.
TEST_P(CudaFp8Model, BlocksAgreeWithTheirWeightsInF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  BambaConfig config = random_config(rng);
  config.intermediate_size += 200;  // more than one block
  config.dtype = DType::bf16;
  const TempFolder folder;
  random_model(config, seed, options("cpu", WeightFormat::bf16)).save_pretrained(folder / "parent");
  const bool kept = seed % 2 == 0;
  const Fp8BlockCheckpoint checkpoint(folder / "parent", kept ? Fp8Block{128, 128} : Fp8Block{128, 64}, "_scale_inv");
  checkpoint.write_coded(folder / "fp8", weight_block_size(kept ? "[128, 128]" : "[128, 64]"));
  // Kept, weights are exactly code times scale; widened, that rounded to bf16.
  const auto cpu =
      BambaForCausalLM::from_pretrained(folder / "fp8", options("cpu", kept ? WeightFormat::f32 : WeightFormat::bf16));

  RunOptions exact = options("cuda", WeightFormat::fp8);
  exact.activations = ActivationFormat::f32;
  const auto asked = BambaForCausalLM::from_pretrained(folder / "fp8", exact);
  exact.weights.reset();
  const auto gpu = BambaForCausalLM::from_pretrained(folder / "fp8", exact);
  EXPECT_EQ(gpu.model().info().weights, kept ? WeightFormat::fp8 : WeightFormat::bf16);
  EXPECT_EQ(asked.model().info().weights, gpu.model().info().weights);
  expect_agreement(gpu, cpu, asked, rng);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CudaFp8Model, ::testing::Range(0, 10));

}  // namespace
}  // namespace bamba::test
