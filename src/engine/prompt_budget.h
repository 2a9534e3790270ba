// Which prompts go on in a step, and by how much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bamba {

struct PromptShare {
  int priority = 0;
  uint64_t number = 0;    ///< lower: came earlier
  size_t item = 0;        ///< the caller's
  int64_t start = 0;      ///< tokens read so far
  int64_t left = 0;       ///< tokens to read in all
  int64_t available = 0;  ///< of these, what one step may take (up to the next cut)
  int64_t given = 0;      ///< the answer
};

/// Deals `budget` tokens. The highest priority takes what it can, then the next. Within one, half of what is there
/// belongs to the prompt that came first, so that a long one always comes to its end however many short ones follow;
/// the other half, and what the first cannot use, goes to the prompts with the fewest tokens left, so that short ones
/// need not wait for a long one, and what they cannot use to the next shortest. The order of equals is that of arrival.
///
/// A piece that ends before it must ends at a multiple of cut_multiple, if it can reach one: the chunked scan's sums
/// are then the same as without the cut.
void share_prompt_budget(std::span<PromptShare> prompts, int64_t budget, int64_t cut_multiple);

}  // namespace bamba
