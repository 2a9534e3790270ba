#include "engine/prompt_budget.h"

#include <algorithm>

namespace bamba {
namespace {

/// Gives up to `budget` more; returns what is left of it.
int64_t give(PromptShare& prompt, int64_t budget, int64_t limit, int64_t cut_multiple) {
  const int64_t wanted = std::min({prompt.available, prompt.given + budget, prompt.given + limit});
  int64_t given = wanted;
  if (given < prompt.available) {
    const int64_t end = (prompt.start + given) / cut_multiple * cut_multiple;
    if (end > prompt.start) given = end - prompt.start;
  }
  given = std::max(given, prompt.given);
  budget -= given - prompt.given;
  prompt.given = given;
  return budget;
}

}  // namespace

void share_prompt_budget(std::span<PromptShare> prompts, int64_t budget, int64_t cut_multiple) {
  std::sort(prompts.begin(), prompts.end(), [](const PromptShare& a, const PromptShare& b) {
    if (a.priority != b.priority) return a.priority > b.priority;
    return a.left != b.left ? a.left < b.left : a.number < b.number;
  });
  for (size_t begin = 0; begin < prompts.size() && budget > 0;) {
    size_t end = begin;
    PromptShare* oldest = nullptr;
    while (end < prompts.size() && prompts[end].priority == prompts[begin].priority) {
      PromptShare& prompt = prompts[end++];
      if (prompt.available > 0 && (oldest == nullptr || prompt.number < oldest->number)) oldest = &prompt;
    }
    if (oldest != nullptr) budget = give(*oldest, budget, (budget + 1) / 2, cut_multiple);
    for (size_t i = begin; i < end && budget > 0; ++i) budget = give(prompts[i], budget, budget, cut_multiple);
    begin = end;
  }
}

}  // namespace bamba
