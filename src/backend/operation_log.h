// Operations that a device's clock measures, from when they are queued to when their times are known.
#pragma once

#include <bamba/profile.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/operation_cost.h"

namespace bamba::backend {

class OperationLog {
 public:
  /// A timer holds something for each operation: so many at most, then they are waited for.
  static constexpr size_t kMostPending = 8192;

  OperationLog(std::unique_ptr<OperationTimer> timer, std::shared_ptr<Profile> profile);

  /// Around what the backend is told. Where that fails, drop() takes the place of end().
  void begin() { timer_->begin(); }
  void end(std::string_view name, OperationCost cost, Arithmetic arithmetic);
  /// Forgets the operation that has begun and all that were not delivered: they may never have run.
  void drop();
  /// Waits for all operations that ended and adds them to the profile.
  void deliver();

 private:
  struct Operation {
    std::string name;
    OperationCost cost;
    Arithmetic arithmetic;
  };

  std::unique_ptr<OperationTimer> timer_;
  std::shared_ptr<Profile> profile_;
  std::vector<Operation> pending_;
  std::vector<double> seconds_;
};

}  // namespace bamba::backend
