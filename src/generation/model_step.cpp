#include "generation/model_step.h"

#include "model/host_snapshot.h"
#include "model/model_identity.h"
#include "model/sequence_state_impl.h"

namespace bamba {

void ModelState::visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const {
  if (!*state_) return;
  state_->impl().visit_buffers([&](const backend::Buffer& buffer) { visit(buffer.floats(), buffer.bytes()); });
}

int ModelStep::threads() const {
  return model_.model().impl().device->threads();
}

void ModelStep::parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) {
  model_.model().impl().device->parallel_for(tasks, body);
}

std::unique_ptr<StepState> ModelStep::from_host(const HostSnapshot& snapshot) {
  return std::make_unique<ModelState>(model_.model().restore(snapshot));
}

size_t ModelStep::state_bytes(int64_t tokens) const {
  return snapshot_bytes(*model_.model().impl().context, tokens);
}

std::string ModelStep::state_layout() const {
  return bamba::state_layout(*model_.model().impl().context);
}

std::string ModelStep::identity() const {
  return model_identity(model_.model().impl());
}

std::span<float> ModelStep::forward(std::span<const StepInput> inputs) {
  run(inputs, {});
  return output_.logits ? output_.logits.data<float>() : std::span<float>();
}

std::span<const int64_t> ModelStep::forward_best(std::span<const StepInput> inputs) {
  RaggedOptions options;
  options.best_ids_only = true;
  run(inputs, options);
  return output_.best_ids;
}

std::span<const int64_t> ModelStep::forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) {
  RaggedOptions options;
  options.draws = draws;
  run(inputs, options);
  return output_.drawn_ids;
}

void ModelStep::run(std::span<const StepInput> inputs, const RaggedOptions& options) {
  inputs_.resize(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs_[i].state = static_cast<ModelState*>(inputs[i].state)->get();
    inputs_[i].input_ids = inputs[i].ids;
    inputs_[i].logits = inputs[i].logits ? LogitsToKeep::last : LogitsToKeep::none;
    if (inputs[i].all_logits) inputs_[i].logits = LogitsToKeep::all;
  }
  model_.forward(inputs_, options, output_);
}

}  // namespace bamba
