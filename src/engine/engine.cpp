// The engine's thread, and what other threads ask of it.
#include <bamba/engine.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/stopwatch.h"
#include "base/str.h"
#include "base/warning.h"
#include "engine/engine_options.h"
#include "engine/job.h"
#include "engine/radix_cache.h"
#include "engine/scheduler.h"
#include "generation/model_step.h"

namespace bamba {
namespace {

/// Longer than anybody waits, and short enough for every clock.
constexpr double kLongestWait = 1e8;

std::unique_ptr<StateCache> make_cache(StepModel& model, const EngineOptions& options) {
  if (!options.cache) return nullptr;
  StateCacheOptions cache;
  cache.bytes = options.cache_bytes;
  cache.state_dir = options.state_dir;
  cache.state_dir_bytes = options.state_dir_bytes;
  return make_state_cache(model, cache);
}

}  // namespace

struct Engine::Impl {
  Impl(BambaForCausalLM model_, std::shared_ptr<const Tokenizer> tokenizer_, const EngineOptions& options_)
      : model(std::move(model_)),
        tokenizer(std::move(tokenizer_)),
        options(filled_options(options_, model)),
        tools(TextTools::from(tokenizer.get())),
        step(model),
        cache(make_cache(step, options)),
        scheduler(step, tools, cache.get(), scheduler_limits(options, model), [this] { return clock.seconds(); }) {
    thread = std::thread([this] { run(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_one();
    thread.join();
  }

  void run();
  /// With the lock: what others see of the scheduler.
  void publish() {
    published = scheduler.metrics();
    jobs = scheduler.jobs();
  }

  BambaForCausalLM model;
  std::shared_ptr<const Tokenizer> tokenizer;
  EngineOptions options;
  TextTools tools;
  Stopwatch clock;

  // The thread's own.
  ModelStep step;
  std::unique_ptr<StateCache> cache;
  Scheduler scheduler;

  mutable std::mutex mutex;  ///< of all below
  std::condition_variable wake;
  std::condition_variable changed;  ///< for drain()
  std::vector<std::unique_ptr<Job>> inbox;
  std::vector<uint64_t> cancels;
  bool draining = false;
  bool cancel_all = false;
  bool flush = false;
  bool stopping = false;
  uint64_t last_number = 0;
  uint64_t refused = 0;
  size_t jobs = 0;  ///< of the scheduler
  EngineMetrics published;

  std::thread thread;
};

void Engine::Impl::run() {
  std::vector<std::unique_ptr<Job>> arrived;
  std::vector<uint64_t> cancelled;
  std::unique_lock lock(mutex);
  for (;;) {
    wake.wait(lock, [&] { return stopping || flush || !inbox.empty() || !cancels.empty() || !scheduler.idle(); });
    arrived.swap(inbox);
    cancelled.swap(cancels);
    jobs += arrived.size();
    published.waiting += static_cast<int64_t>(arrived.size());
    const bool end_all = stopping || cancel_all;
    const bool write = flush;
    lock.unlock();

    for (auto& job : arrived) scheduler.add(std::move(job));
    arrived.clear();
    const Error cancel(ErrorCode::cancelled, "the request was cancelled");
    for (const uint64_t number : cancelled) scheduler.end(number, cancel);
    cancelled.clear();
    if (end_all) scheduler.end_all(Error(ErrorCode::cancelled, "the engine stops"));
    if (write && cache) {
      try {
        cache->flush();
      } catch (const Error& error) {
        warn("the cache of states is not written: ", error.what());
      }
    }
    scheduler.admit();
    lock.lock();
    publish();
    if (write) flush = false;
    changed.notify_all();
    if (stopping && scheduler.idle() && inbox.empty()) return;
    lock.unlock();

    scheduler.step();
    lock.lock();
    publish();
    changed.notify_all();
  }
}

Engine::Engine(BambaForCausalLM model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(tokenizer), options)) {}

Engine::~Engine() {
  if (impl_->thread.get_id() != std::this_thread::get_id()) return;
  // A listener was the last that held it. The engine's thread cannot wait for its own end; another one does.
  std::thread([impl = std::move(impl_)]() mutable { impl.reset(); }).detach();
}

uint64_t Engine::submit(EngineRequest request, std::shared_ptr<EngineListener> listener) {
  Impl& impl = *impl_;
  const double now = impl.clock.seconds();
  auto job = make_job(std::move(request), std::move(listener), impl.model.config(), impl.tools);
  const auto refuse = [&](const Error& error) {
    const std::lock_guard lock(impl.mutex);
    ++impl.refused;
    throw error;
  };
  job->submitted_at = now;
  if (job->request.timeout_seconds) job->deadline = now + *job->request.timeout_seconds;
  if (job->max_length > impl.options.max_context) {
    refuse(Error(ErrorCode::invalid_argument,
                 str("the prompt has ", job->prompt.size(), " tokens and its reply up to ",
                     job->max_length - static_cast<int64_t>(job->prompt.size()), "; together at most ",
                     impl.options.max_context, " are allowed (max_context)")));
  }
  try {
    impl.scheduler.check_fits(*job);
  } catch (const Error& error) {
    refuse(error);
  }
  uint64_t number = 0;
  {
    const std::lock_guard lock(impl.mutex);
    if (impl.draining) {
      ++impl.refused;
      fail(ErrorCode::busy, "the engine is stopping and takes no more requests");
    }
    const int64_t waiting = impl.published.waiting + static_cast<int64_t>(impl.inbox.size());
    if (waiting >= impl.options.max_queue) {
      ++impl.refused;
      fail(ErrorCode::busy, waiting, " requests wait already, as many as the queue holds; try again later");
    }
    number = job->number = ++impl.last_number;
    impl.inbox.push_back(std::move(job));
  }
  impl.wake.notify_one();
  return number;
}

void Engine::cancel(uint64_t request) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->cancels.push_back(request);
  }
  impl_->wake.notify_one();
}

bool Engine::drain(double seconds) {
  Impl& impl = *impl_;
  if (std::this_thread::get_id() == impl.thread.get_id()) {
    fail(ErrorCode::invalid_argument, "a listener called drain(), which waits for the thread that listeners run on");
  }
  std::unique_lock lock(impl.mutex);
  impl.draining = true;
  const auto all_ended = [&] { return impl.jobs == 0 && impl.inbox.empty(); };
  const std::chrono::duration<double> longest(std::clamp(seconds, 0.0, kLongestWait));
  const bool ended = impl.changed.wait_for(lock, longest, all_ended);
  if (!ended) impl.cancel_all = true;
  impl.flush = true;
  impl.wake.notify_one();
  impl.changed.wait(lock, [&] { return !impl.flush && all_ended(); });
  return ended;
}

const BambaForCausalLM& Engine::model() const {
  return impl_->model;
}

const EngineOptions& Engine::options() const {
  return impl_->options;
}

EngineMetrics Engine::metrics() const {
  const std::lock_guard lock(impl_->mutex);
  EngineMetrics out = impl_->published;
  out.waiting += static_cast<int64_t>(impl_->inbox.size());
  out.requests_refused = impl_->refused;
  return out;
}

}  // namespace bamba
