#include "tokenizer/tokenizer_impl.h"

#include "base/str.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kMaxKeptScratch = 64;
constexpr size_t kMaxKeptSymbols = size_t{1} << 16;  // buffers of a huge word are not kept
constexpr size_t kMaxTextBytes = size_t{1} << 30;    // positions inside a word are 32-bit

}  // namespace

std::unique_ptr<EncodeScratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give(std::unique_ptr<EncodeScratch> scratch) noexcept {
  if (scratch->bpe.symbols.capacity() > kMaxKeptSymbols) {
    scratch->bpe.symbols = {};
    scratch->bpe.heap = {};
    scratch->bpe.tokens = {};
  }
  try {
    const std::lock_guard lock(mutex_);
    if (free_.size() < kMaxKeptScratch) free_.push_back(std::move(scratch));
  } catch (const std::exception&) {
    scratch.reset();  // no memory to remember it: the next call makes a new one
  }
}

Encoding Tokenizer::Impl::encode_plain(std::string_view raw, bool with_offsets) const {
  if (raw.size() > kMaxTextBytes) {
    fail(ErrorCode::invalid_argument, "a text of ", raw.size(), " bytes; at most ", kMaxTextBytes,
         " can be encoded in one call");
  }
  const std::string repaired = utf8_valid(raw) ? std::string() : utf8_replace_invalid(raw);
  const std::string_view text = repaired.empty() ? raw : std::string_view(repaired);

  ScratchPool::Lease lease(scratch);
  EncodeScratch& work = *lease;
  work.regex.start_text(text.size());
  work.first_pass.clear();
  work.sections.clear();
  raw_added.split(text, 0, text.size(), work.regex, work.first_pass);
  for (const TextSection& section : work.first_pass) {
    if (section.id || normalized_added.empty()) {
      work.sections.push_back(section);
    } else {
      normalized_added.split(text, section.begin, section.end, work.regex, work.sections);
    }
  }

  // before[i]: characters that start before byte i + 1, so byte i belongs to character before[i] - 1.
  std::vector<uint32_t> before;
  if (with_offsets) {
    before.resize(text.size());
    uint32_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      count += (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
      before[i] = count;
    }
  }
  Encoding out;
  const auto push_offsets = [&](size_t begin, size_t end) {
    out.offsets.emplace_back(int64_t{before[begin]} - 1, before[end - 1]);
  };
  for (const TextSection& section : work.sections) {
    if (section.id) {
      out.ids.push_back(*section.id);
      if (with_offsets) push_offsets(section.begin, section.end);
      continue;
    }
    const std::string_view part = text.substr(section.begin, section.end - section.begin);
    if (!with_offsets) {
      pre_tokenizer->split(part, work.regex, [&](Piece piece) { bpe->encode(piece.text, work.bpe, out.ids); });
      continue;
    }
    pre_tokenizer->split(part, work.regex, [&](Piece piece) {
      // A space that add_prefix_space put before a piece counts as its first character.
      const auto place = [&](int64_t byte) {
        return section.begin + static_cast<size_t>(std::max(piece.origin + byte, piece.floor));
      };
      for (const WordToken& token : bpe->encode_with_spans(piece.text, work.bpe)) {
        out.ids.push_back(token.id);
        push_offsets(place(token.begin), place(int64_t{token.begin} + token.length - 1) + 1);
      }
    });
  }
  return out;
}

Encoding Tokenizer::Impl::post_process(std::vector<Encoding> parts, bool add_special_tokens) const {
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].offsets.resize(parts[i].ids.size());
    parts[i].type_ids.assign(parts[i].ids.size(), static_cast<int64_t>(i));
  }
  return post_processor.process(std::move(parts), add_special_tokens,
                                [this](int64_t id) -> const std::string& { return token_text(id); });
}

const TokenInfo* Tokenizer::Impl::decodable(int64_t id, bool skip_special_tokens) const {
  if (id < 0)
    fail(ErrorCode::invalid_argument, "the token id ", id, " is negative; ids go from 0 to ", tokens.size() - 1);
  if (static_cast<uint64_t>(id) >= tokens.size()) return nullptr;
  const TokenInfo& token = tokens[static_cast<size_t>(id)];
  if (!token.exists || (skip_special_tokens && token.special)) return nullptr;
  return &token;
}

}  // namespace bamba
