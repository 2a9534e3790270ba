#include <bamba/engine.h>

namespace bamba {

void DurationHistogram::add(double seconds) {
  for (size_t i = 0; i < bounds.size(); ++i) counts[i] += seconds <= bounds[i] ? 1 : 0;
  ++count;
  sum += seconds;
}

}  // namespace bamba
