// The engine with its thread, over the demo model: every result is bit for bit that of generate() for the request
// alone, whatever runs beside it, with snapshots and without.
#include <bamba/engine.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "engine/support.h"

namespace bamba::test {
namespace {

const BambaForCausalLM& demo_model() {
  static const BambaForCausalLM model = BambaForCausalLM::from_pretrained(BAMBA_DEMO_MODEL);
  return model;
}
std::shared_ptr<const Tokenizer> demo_tokenizer() {
  static const auto tokenizer = std::make_shared<const Tokenizer>(Tokenizer::from_pretrained(BAMBA_DEMO_MODEL));
  return tokenizer;
}

/// One that can be waited for.
class Waited final : public Heard {
 public:
  void finished(const EngineUsage& usage_) override {
    const std::lock_guard lock(mutex_);
    Heard::finished(usage_);
    changed_.notify_all();
  }
  void failed(const Error& error_) override {
    const std::lock_guard lock(mutex_);
    Heard::failed(error_);
    changed_.notify_all();
  }
  void token(const StreamEvent& event) override {
    const std::lock_guard lock(mutex_);
    Heard::token(event);
    changed_.notify_all();
    if (on_token) on_token();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(300), [&] { return ended(); }));
  }
  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(300), [&] { return tokens() >= count || ended(); }));
  }
  std::function<void()> on_token;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

EngineOptions small_options() {
  EngineOptions options;
  options.max_sequences = 8;
  options.step_tokens = 48;
  options.running_bytes = size_t{256} << 20;
  options.cache_bytes = size_t{256} << 20;
  return options;
}

EngineRequest request_of(std::string_view text, GenerationConfig config) {
  EngineRequest request;
  request.prompt_ids = demo_tokenizer()->encode(text);
  request.generation = std::move(config);
  return request;
}

std::vector<GeneratedSequence> alone(const EngineRequest& request) {
  GenerateOptions options;
  options.tokenizer = demo_tokenizer().get();
  const std::vector<std::vector<int64_t>> prompts = {request.prompt_ids};
  return generate(demo_model(), prompts, request.generation, options).sequences;
}

void expect_as_alone(const Waited& heard, const EngineRequest& request) {
  ASSERT_TRUE(heard.done) << (heard.error ? heard.error->what() : "");
  const auto wanted = alone(request);
  ASSERT_EQ(heard.sequences.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    expect_same(heard.sequences.at(static_cast<int64_t>(i)), wanted[i]);
    EXPECT_EQ(heard.texts.at(static_cast<int64_t>(i)), wanted[i].text);
  }
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  int64_t operator()(int64_t bound) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<int64_t>((state_ >> 33) % static_cast<uint64_t>(bound));
  }

 private:
  uint64_t state_;
};

const std::string kStory =
    "Once upon a time there was a little boat that wanted to see the sea. Every morning it asked the river where the "
    "water went, and every morning the river laughed and ran on. One day the rope that held it broke, and ";

EngineRequest random_request(Random& random) {
  GenerationConfig config;
  config.max_new_tokens = 1 + random(24);
  config.do_sample = random(2) == 0;
  config.seed = static_cast<uint64_t>(random(1000));
  config.temperature = 0.6 + 0.1 * static_cast<double>(random(8));
  config.top_k = random(3) * 20;
  config.top_p = random(2) == 0 ? 0.9 : 1.0;
  if (random(3) == 0) config.repetition_penalty = 1.2;
  if (random(3) == 0) config.presence_penalty = 0.5;
  if (random(4) == 0) config.logit_bias = {{random(200), 3.0}};
  if (random(3) == 0) {
    config.output_logprobs = true;
    config.top_logprobs = random(4);
  }
  if (random(4) == 0) config.stop_strings = {".", "and"};
  if (config.do_sample && random(3) == 0) config.num_return_sequences = 2 + random(2);
  // Beginnings that others share, so that the cache has something to find.
  const auto begin = static_cast<size_t>(random(3) == 0 ? random(50) : 0);
  const auto length = static_cast<size_t>(1 + random(3) * 60 + random(20));
  EngineRequest request = request_of(kStory.substr(begin, length), config);
  if (random(2) == 0) request.cache_points = {static_cast<int64_t>(request.prompt_ids.size() / 2)};
  request.priority = static_cast<int>(random(3));
  return request;
}

void random_mix(const EngineOptions& options, uint64_t seed, bool expect_hits) {
  Engine engine(demo_model(), demo_tokenizer(), options);
  Random random(seed);
  std::vector<EngineRequest> requests;
  std::vector<std::shared_ptr<Waited>> heard;
  std::vector<bool> cancelled;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(random_request(random));
    heard.push_back(std::make_shared<Waited>());
    const uint64_t number = engine.submit(requests.back(), heard.back());
    cancelled.push_back(random(6) == 0);
    if (cancelled.back()) {
      if (random(2) == 0) heard.back()->wait_for_tokens(1);
      engine.cancel(number);
    }
    if (random(4) == 0) heard[static_cast<size_t>(random(i + 1))]->wait();
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    heard[i]->wait();
    if (heard[i]->error) {
      EXPECT_TRUE(cancelled[i]);
      EXPECT_EQ(heard[i]->error->code(), ErrorCode::cancelled);
      continue;
    }
    expect_as_alone(*heard[i], requests[i]);  // one that had ended before it was cancelled, too
  }
  EXPECT_TRUE(engine.drain(0));
  const EngineMetrics metrics = engine.metrics();
  EXPECT_EQ(metrics.requests_finished + metrics.requests_cancelled, 40U);
  EXPECT_EQ(metrics.waiting + metrics.running + metrics.preempted + metrics.sequences, 0);
  EXPECT_EQ(metrics.running_bytes, 0U);
  if (expect_hits) {
    EXPECT_GT(metrics.cache_hits, 0U);
    EXPECT_GT(metrics.cached_tokens, 0U);
    EXPECT_LT(metrics.prefill_tokens, metrics.prompt_tokens);
  } else {
    EXPECT_EQ(metrics.cache_hits, 0U);
  }
}

TEST(Engine, ARandomMixIsWhatEachIsAlone) {
  random_mix(small_options(), 1, true);
}

TEST(Engine, ARandomMixWithoutCache) {
  EngineOptions options = small_options();
  options.cache = false;
  random_mix(options, 2, false);
}

TEST(Engine, ARandomMixThatMustMakeWay) {
  EngineOptions options = small_options();
  // Room for a request of three sequences, and no more.
  const ModelInfo info = demo_model().model().info();
  options.running_bytes = 3 * (info.state_bytes + 256 * info.kv_bytes_per_token);
  options.host_bytes = info.state_bytes * 2;
  random_mix(options, 3, true);
}

TEST(Engine, WhoMadeWayComesToTheSameEnd) {
  const ModelInfo info = demo_model().model().info();
  for (const int64_t states_on_host : {0, 3}) {
    EngineOptions options = small_options();
    // Room for one of the two requests.
    options.running_bytes = 3 * (info.state_bytes + 512 * info.kv_bytes_per_token);
    options.host_bytes = std::max<size_t>(1, static_cast<size_t>(states_on_host) * options.running_bytes / 3);
    options.cache = false;
    Engine engine(demo_model(), demo_tokenizer(), options);
    GenerationConfig config;
    config.max_new_tokens = 200;
    config.do_sample = true;
    config.num_return_sequences = 3;
    const EngineRequest low = request_of(kStory, config);
    EngineRequest high = request_of("The sea", config);
    high.generation.max_new_tokens = 5;
    high.priority = 1;
    const auto low_heard = std::make_shared<Waited>();
    engine.submit(low, low_heard);
    low_heard->wait_for_tokens(30);
    const auto high_heard = std::make_shared<Waited>();
    engine.submit(high, high_heard);
    high_heard->wait();
    low_heard->wait();
    expect_as_alone(*low_heard, low);
    expect_as_alone(*high_heard, high);
    EXPECT_EQ(engine.metrics().preemptions, 1U);
    EXPECT_EQ(engine.metrics().recomputations, states_on_host == 0 ? 1U : 0U);
  }
}

TEST(Engine, AConversationGoesOnFromItsSnapshots) {
  Engine engine(demo_model(), demo_tokenizer(), small_options());
  GenerationConfig config;
  config.max_new_tokens = 30;
  EngineRequest request = request_of(kStory, config);
  for (int turn = 0; turn < 4; ++turn) {
    const auto heard = std::make_shared<Waited>();
    engine.submit(request, heard);
    heard->wait();
    expect_as_alone(*heard, request);
    const auto length = static_cast<int64_t>(request.prompt_ids.size());
    if (turn > 0) {
      // All but the reply's last token and the new words.
      EXPECT_GE(heard->usage.cached_tokens, length - 16) << turn;
    }
    const auto& ids = heard->sequences.at(0).ids;
    request.prompt_ids.insert(request.prompt_ids.end(), ids.begin(), ids.end());
    for (const int64_t id : demo_tokenizer()->encode(" And then", false)) request.prompt_ids.push_back(id);
  }
  // The same prompt again: all but its last token is there.
  const auto again = std::make_shared<Waited>();
  engine.submit(request, again);
  again->wait();
  const auto once_more = std::make_shared<Waited>();
  engine.submit(request, once_more);
  once_more->wait();
  EXPECT_GE(once_more->usage.cached_tokens, static_cast<int64_t>(request.prompt_ids.size()) - 17);
  expect_same(once_more->sequences.at(0), again->sequences.at(0));
}

TEST(Engine, SnapshotsOutliveTheEngine) {
  const auto folder = std::filesystem::temp_directory_path() / ("bamba-engine-test-" + std::to_string(::getpid()));
  std::filesystem::remove_all(folder);
  EngineOptions options = small_options();
  options.state_dir = folder;
  GenerationConfig config;
  config.max_new_tokens = 10;
  const EngineRequest request = request_of(kStory, config);
  for (int start = 0; start < 2; ++start) {
    Engine engine(demo_model(), demo_tokenizer(), options);
    const auto heard = std::make_shared<Waited>();
    engine.submit(request, heard);
    heard->wait();
    expect_as_alone(*heard, request);
    EXPECT_EQ(heard->usage.cached_tokens > 0, start == 1);
    EXPECT_TRUE(engine.drain(10));
    EXPECT_EQ(engine.metrics().disk_hits, static_cast<uint64_t>(start));
    EXPECT_GT(engine.metrics().disk_snapshots, 0U);
  }
  std::filesystem::remove_all(folder);
}

TEST(Engine, ThreadsSubmitAndCancel) {
  EngineOptions options = small_options();
  options.max_queue = 1000;
  Engine engine(demo_model(), demo_tokenizer(), options);
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random(100 + t);
      for (int i = 0; i < 6; ++i) {
        const EngineRequest request = random_request(random);
        const auto heard = std::make_shared<Waited>();
        const uint64_t number = engine.submit(request, heard);
        const bool cancel = random(3) == 0;
        if (cancel) engine.cancel(number);
        static_cast<void>(engine.metrics());
        heard->wait();
        if (heard->error) {
          EXPECT_TRUE(cancel);
        } else {
          EXPECT_EQ(heard->sequences.size(), static_cast<size_t>(request.generation.num_return_sequences));
        }
        ++ended;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended.load(), 24);
}

TEST(Engine, ThreadOfTheEngineMayCancel) {
  Engine engine(demo_model(), demo_tokenizer(), small_options());
  GenerationConfig config;
  config.max_new_tokens = 500;
  const auto heard = std::make_shared<Waited>();
  std::atomic<uint64_t> number{0};
  heard->on_token = [&] {
    if (number != 0) engine.cancel(number);
  };
  number = engine.submit(request_of("The sea", config), heard);
  heard->wait();
  ASSERT_TRUE(heard->error);
  EXPECT_EQ(heard->error->code(), ErrorCode::cancelled);
}

/// A listener of the kind that keeps what it needs alive, the engine among it.
class Owner final : public EngineListener {
 public:
  explicit Owner(std::shared_ptr<Engine> engine) : engine_(std::move(engine)) {}
  void prompt_done(const EngineUsage& /*usage*/, const std::vector<TokenLogprob>& /*logprobs*/) override {}
  void token(const StreamEvent& /*event*/) override {}
  void sequence_finished(int64_t /*sequence_index*/, const GeneratedSequence& /*sequence*/) override {}
  void finished(const EngineUsage& /*usage*/) override {}
  void failed(const Error& /*error*/) override {}

 private:
  std::shared_ptr<Engine> engine_;
};

TEST(Engine, ThreadOfTheEngineMayHoldItLast) {
  auto tokenizer = std::make_shared<const Tokenizer>(Tokenizer::from_pretrained(BAMBA_DEMO_MODEL));
  const std::weak_ptr<const Tokenizer> held_by_the_engine = tokenizer;
  auto engine = std::make_shared<Engine>(demo_model(), std::move(tokenizer), small_options());
  GenerationConfig config;
  config.max_new_tokens = 40;
  engine->submit(request_of("The sea", config), std::make_shared<Owner>(engine));
  engine.reset();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!held_by_the_engine.expired() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(held_by_the_engine.expired());
}

TEST(Engine, ThreadsStopWithTheEngine) {
  GenerationConfig config;
  config.max_new_tokens = 500;
  const auto heard = std::make_shared<Waited>();
  {
    Engine engine(demo_model(), demo_tokenizer(), small_options());
    engine.submit(request_of("The sea", config), heard);
    heard->wait_for_tokens(2);
  }
  ASSERT_TRUE(heard->error);
  EXPECT_EQ(heard->error->code(), ErrorCode::cancelled);
}

TEST(Engine, DrainWaitsThenCancels) {
  Engine engine(demo_model(), demo_tokenizer(), small_options());
  GenerationConfig config;
  config.max_new_tokens = 500;
  const auto long_one = std::make_shared<Waited>();
  engine.submit(request_of("The sea", config), long_one);
  long_one->wait_for_tokens(1);
  EXPECT_FALSE(engine.drain(0.01));
  ASSERT_TRUE(long_one->error);
  EXPECT_EQ(long_one->error->code(), ErrorCode::cancelled);
  try {
    engine.submit(request_of("The sea", config), std::make_shared<Waited>());
    FAIL() << "a draining engine takes nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::busy);
  }
  EXPECT_TRUE(engine.drain(0));
  EXPECT_EQ(engine.metrics().requests_refused, 1U);
}

TEST(Engine, TheQueueIsBounded) {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  options.max_queue = 2;
  Engine engine(demo_model(), demo_tokenizer(), options);
  GenerationConfig config;
  config.max_new_tokens = 2000;
  std::vector<std::shared_ptr<Waited>> all;
  all.push_back(std::make_shared<Waited>());
  engine.submit(request_of("The sea", config), all.back());
  all.back()->wait_for_tokens(1);
  for (int i = 0; i < 2; ++i) {
    all.push_back(std::make_shared<Waited>());
    engine.submit(request_of("The sea", config), all.back());
  }
  EXPECT_EQ(engine.metrics().waiting, 2);
  try {
    engine.submit(request_of("The sea", config), std::make_shared<Waited>());
    FAIL() << "the queue holds two";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::busy);
  }
  EXPECT_EQ(engine.metrics().requests_refused, 1U);
}

TEST(Engine, TimeoutsAndWhatCannotFit) {
  EngineOptions options = small_options();
  options.max_context = 600;
  Engine engine(demo_model(), demo_tokenizer(), options);
  GenerationConfig config;
  config.max_new_tokens = 590;
  EngineRequest request = request_of("The sea", config);
  request.timeout_seconds = 0.02;
  const auto heard = std::make_shared<Waited>();
  engine.submit(request, heard);
  heard->wait();
  ASSERT_TRUE(heard->error);
  EXPECT_EQ(heard->error->code(), ErrorCode::timeout);
  config.max_new_tokens = 600;
  EXPECT_THROW(engine.submit(request_of("The sea", config), heard), Error);
}

TEST(Engine, OptionsAreCheckedAndFilledIn) {
  const Engine engine(demo_model(), nullptr);
  EXPECT_EQ(engine.options().step_tokens, 256);
  EXPECT_EQ(engine.options().max_context, demo_model().config().max_position_embeddings);
  EXPECT_GT(engine.options().running_bytes, size_t{1} << 20);
  EXPECT_GT(engine.options().cache_bytes, size_t{1} << 20);
  EXPECT_GT(engine.options().host_bytes, size_t{1} << 18);
  EngineOptions options;
  options.step_tokens = 8;
  EXPECT_THROW(Engine(demo_model(), nullptr, options), Error);
  options = {};
  options.max_sequences = 0;
  EXPECT_THROW(Engine(demo_model(), nullptr, options), Error);
  options = {};
  options.max_queue = 0;
  EXPECT_THROW(Engine(demo_model(), nullptr, options), Error);
}

}  // namespace
}  // namespace bamba::test
