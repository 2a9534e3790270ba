#include <bamba/profile.h>

#include <functional>
#include <map>
#include <mutex>

namespace bamba {

struct Profile::Impl {
  mutable std::mutex mutex;
  std::vector<OperationProfile> operations;
  std::map<std::string, size_t, std::less<>> index;  ///< in operations
};

Profile::Profile() : impl_(std::make_unique<Impl>()) {}
Profile::~Profile() = default;

std::vector<OperationProfile> Profile::operations() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->operations;
}

void Profile::reset() {
  const std::lock_guard lock(impl_->mutex);
  impl_->operations.clear();
  impl_->index.clear();
}

void Profile::add(std::string_view name, double seconds, double bytes, double flops, Arithmetic arithmetic) {
  const std::lock_guard lock(impl_->mutex);
  auto found = impl_->index.find(name);
  if (found == impl_->index.end()) {
    found = impl_->index.emplace(name, impl_->operations.size()).first;
    impl_->operations.push_back({std::string(name), 0, 0, 0, 0, arithmetic});
  }
  OperationProfile& operation = impl_->operations[found->second];
  ++operation.calls;
  operation.seconds += seconds;
  operation.bytes += bytes;
  operation.flops += flops;
}

}  // namespace bamba
