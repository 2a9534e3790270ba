#include "backend/operation_log.h"

#include <utility>

#include "base/str.h"

namespace bamba::backend {

OperationLog::OperationLog(std::unique_ptr<OperationTimer> timer, std::shared_ptr<Profile> profile)
    : timer_(std::move(timer)), profile_(std::move(profile)) {}

void OperationLog::end(std::string_view name, OperationCost cost, Arithmetic arithmetic) {
  timer_->end();
  pending_.push_back({std::string(name), cost, arithmetic});
  if (pending_.size() == kMostPending) deliver();
}

void OperationLog::drop() {
  pending_.clear();
  timer_->forget();
}

void OperationLog::deliver() {
  if (pending_.empty()) return;
  seconds_.clear();
  timer_->collect(seconds_);
  if (seconds_.size() != pending_.size()) {
    fail(ErrorCode::internal, "a timer measured ", seconds_.size(), " operations of ", pending_.size());
  }
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Operation& each = pending_[i];
    profile_->add(each.name, seconds_[i], each.cost.bytes, each.cost.flops, each.arithmetic);
  }
  pending_.clear();
}

}  // namespace bamba::backend
