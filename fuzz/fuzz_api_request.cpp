// Bytes taken as the body of a completion request: it gives a plan or an ApiError, and a plan keeps its promises. The
// first byte chooses the route.
#include <bamba/progress.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/api_error.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/constraint_fields.h"
#include "server/json_fields.h"
#include "tokenizer/tokenizer_impl.h"

namespace {

using namespace bamba;

class NoEngine final : public server::ServedEngine {
 public:
  uint64_t submit(EngineRequest, std::shared_ptr<EngineListener>) override { std::abort(); }
  void cancel(uint64_t) override {}
  bool drain(double) override { return true; }
  EngineMetrics metrics() const override { return {}; }
  int64_t max_context() const override { return 512; }
};

const server::ServedModel& model() {
  static const server::ServedModel served = [] {
    server::ServedModel out;
    out.names = {"fuzz"};
    out.config.vocab_size = 4096;
    out.tokenizer = std::make_shared<const Tokenizer>(Tokenizer::from_pretrained(BAMBA_DEMO_MODEL));
    out.defaults.bos_token_id = 0;
    out.defaults.eos_token_id = {1};
    out.engine = std::make_shared<NoEngine>();
    return out;
  }();
  return served;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  bamba::set_warning_handler({});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  server::ConstraintCache constraints;
  server::ReplyPlan plan;
  try {
    const Json body = server::parse_body(text);
    plan = data[0] == 'c' ? server::plan_chat(body, model(), constraints)
                          : server::plan_completion(body, model(), constraints);
  } catch (const server::ApiError& error) {
    if (error.status() != 400) std::abort();
    return 0;
  } catch (const Error&) {
    return 0;  // the tokenizer's or a constraint's: a status, too
  }
  if (plan.prompts.empty()) std::abort();
  for (const auto& prompt : plan.prompts) {
    const EngineRequest& request = prompt.request;
    const auto length = static_cast<int64_t>(request.prompt_ids.size());
    if (length < 1 || length + request.generation.max_new_tokens.value() > 512) std::abort();
    for (const int64_t id : request.prompt_ids) {
      if (id < 0 || id >= 4096) std::abort();
    }
    for (const int64_t point : request.cache_points) {
      if (point < 1 || point > length) std::abort();
    }
    request.generation.validate(model().config);  // must not throw: the engine would refuse it
  }
  return 0;
}
