// A non-owning reference to a callable: what parallel loops take, so that starting one allocates nothing.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace bamba {

template <typename Signature>
class FunctionRef;

template <typename Result, typename... Args>
class FunctionRef<Result(Args...)> {
 public:
  template <typename Callable, std::enable_if_t<!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>, int> = 0>
  FunctionRef(Callable&& callable)  // NOLINT(google-explicit-constructor): made to be passed lambdas
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, Args... args) -> Result {
          return (*static_cast<std::remove_reference_t<Callable>*>(object))(std::forward<Args>(args)...);
        }) {}

  Result operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  Result (*call_)(void*, Args...);
};

}  // namespace bamba
