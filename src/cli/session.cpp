#include "cli/session.h"

#include <map>
#include <string>

#include "base/str.h"
#include "io/safetensors.h"
#include "model/sequence_state_impl.h"

namespace bamba::cli {
namespace {

constexpr const char* kIds = "session.token_ids";
constexpr const char* kMessages = "bamba.messages";

}  // namespace

void save_session(const std::filesystem::path& path, const Session& session) {
  std::map<std::string, std::string> metadata;
  if (!session.messages.empty()) metadata[kMessages] = session.messages;
  save_sequence_state(session.state, path,
                      {{kIds, Tensor::from(session.ids, {static_cast<int64_t>(session.ids.size())})}}, metadata);
}

Session load_session(const std::filesystem::path& path, const BambaModel& model) {
  Session session;
  session.state = model.load_state(path);
  const SafetensorsFile file = SafetensorsFile::open(path);
  if (!file.contains(kIds)) {
    fail(ErrorCode::invalid_file, path.string(), ": holds a state but not its token ids (", kIds,
         "); give a file that --save-state or /save wrote");
  }
  const Tensor ids = file.tensor(kIds);
  if (ids.dtype() != DType::i64 || ids.rank() != 1 || ids.numel() < session.state.length()) {
    fail(ErrorCode::invalid_file, path.string(), ": ", kIds, " is ", ids.describe(),
         " where I64 [n] with n of at least ", session.state.length(), ", the length of the state, is needed");
  }
  const auto values = ids.data<int64_t>();
  session.ids.assign(values.begin(), values.end());
  const auto& metadata = file.header().metadata;
  if (const auto found = metadata.find(kMessages); found != metadata.end()) session.messages = found->second;
  return session;
}

}  // namespace bamba::cli
