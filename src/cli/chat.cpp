// bamba chat: a conversation on the terminal, or from a pipe.
#include <unistd.h>

#include <csignal>
#include <exception>
#include <memory>

#include "base/str.h"
#include "cli/chat_session.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/generation_flags.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

struct ChatFlags {
  ModelFlags model;
  GenerationFlags generation;
  std::string system, load;
};

constexpr std::string_view kHelp =
    "/help          this list\n"
    "/system TEXT   set the system message (without TEXT: remove it)\n"
    "/retry         answer the last message again\n"
    "/reset         forget the conversation\n"
    "/save FILE     keep the conversation and the model's state\n"
    "/load FILE     go on from there\n"
    "/stats         tokens, memory and speed\n"
    "/exit          leave (Ctrl-D too)\n"
    "A line that ends with \\ goes on in the next one. // sends a message that begins with a slash.\n"
    "Ctrl-C stops the reply.\n";

class Chat {
 public:
  explicit Chat(const ChatFlags& flags)
      : tokenizer_(require_tokenizer(flags.model, "bamba chat")),
        model_(load_model(flags.model)),
        config_(generation_config(flags.generation, model_directory(flags.model), model_.config(), &tokenizer_)),
        session_(model_, tokenizer_),
        interactive_(is_terminal(STDIN_FILENO)) {
    // A conversation is long; the default for generate (256 tokens) would cut replies.
    if (!config_.max_new_tokens && !config_.max_length) config_.max_new_tokens = 1024;
    config_.num_beams = 1;
    config_.num_return_sequences = 1;
    config_.validate(model_.config());
    session_.set_system(flags.system);
    if (!flags.load.empty()) session_.load(flags.load);
  }

  ExitCode run() {
    std::signal(SIGTERM, SIG_DFL);  // only Ctrl-C means "stop the reply"
    if (interactive_) {
      out_.write_styled(styled(STDOUT_FILENO, Style::dim, "Type a message; /help lists commands.\n"));
      if (!tokenizer_.has_chat_template()) {
        print_note("this model has no chat template: it writes on from what you type");
      }
    }
    std::string message;
    bool just_interrupted = false;
    for (;;) {
      if (interactive_) out_.write_styled(styled(STDOUT_FILENO, Style::bold, message.empty() ? "> " : ". "));
      out_.flush();
      std::string line;
      const LineResult result = read_line(line);
      if (result == LineResult::interrupted) {
        interrupt_flag() = false;
        out_.write("\n");
        if (just_interrupted || !interactive_) return ExitCode::interrupted;
        just_interrupted = message.empty();
        message.clear();
        print_note("/exit or Ctrl-D leaves, and so does Ctrl-C again");
        continue;
      }
      just_interrupted = false;
      if (result == LineResult::end && message.empty()) break;
      if (line.ends_with('\r')) line.pop_back();
      if (line.ends_with('\\') && result == LineResult::line) {
        line.back() = '\n';
        message += line;
        continue;
      }
      message += line;
      if (!handle(std::exchange(message, {}))) break;
    }
    if (interactive_) out_.write("\n");
    out_.commit();
    return ExitCode::ok;
  }

 private:
  /// False: leave.
  bool handle(const std::string& message) {
    if (message.find_first_not_of(" \t\n") == std::string::npos) return true;
    if (message == "/exit" || message == "/quit") return false;
    try {
      if (message.starts_with('/') && !message.starts_with("//")) {
        command(message);
      } else {
        session_.add_user(message.starts_with("//") ? message.substr(1) : message);
        answer();
      }
    } catch (const Error& error) {
      // A person can try something else; a script must not go on as if nothing had happened.
      if (!interactive_ || error.code() == ErrorCode::internal) throw;
      print_error(error.what());
    }
    return true;
  }

  void command(const std::string& line) {
    const size_t space = line.find_first_of(" \n");
    const std::string name = line.substr(0, space);
    std::string rest;
    if (space != std::string::npos) rest = line.substr(std::min(line.find_first_not_of(" \n", space), line.size()));
    const auto file = [&] {
      if (rest.empty()) fail(ErrorCode::invalid_argument, name, " needs a file name");
      return std::filesystem::path(rest);
    };
    if (name == "/help") {
      out_.write(kHelp);
    } else if (name == "/system") {
      session_.set_system(rest);
    } else if (name == "/retry") {
      if (!session_.drop_reply()) fail(ErrorCode::invalid_argument, "/retry: there is no reply yet");
      answer();
    } else if (name == "/reset") {
      session_.reset();
    } else if (name == "/save") {
      session_.save(file());
    } else if (name == "/load") {
      session_.load(file());
    } else if (name == "/stats") {
      stats();
    } else {
      fail(ErrorCode::invalid_argument, "unknown command ", name, "; /help lists them");
    }
  }

  void answer() {
    std::exception_ptr error;
    char last = '\n';
    const auto write = [&](std::string_view text) {
      try {
        if (!text.empty()) last = text.back();
        out_.write(text);
        out_.flush();
        return true;
      } catch (...) {
        error = std::current_exception();
        return false;
      }
    };
    last_ = session_.reply(config_, write, interrupt_flag());
    if (error) std::rethrow_exception(error);
    if (last != '\n') out_.write("\n");
    if (interrupt_flag().exchange(false)) print_note("stopped");
    out_.flush();
    ++config_.seed;  // each reply draws its own numbers; /retry must not repeat itself
  }

  void stats() {
    const auto count = [](int64_t value) { return with_thousands(value); };
    out_.line(str("context        ", count(session_.context_tokens()), " tokens in ", session_.messages().size(),
                  " messages"));
    out_.line(
        str("state          ", human_bytes(static_cast<double>(session_.state_bytes())), " (snapshots included)"));
    if (last_.new_tokens == 0) return;
    out_.line(str("last reply     ", count(last_.reused_tokens), " tokens reused, ", count(last_.read_tokens),
                  " read, ", count(last_.new_tokens), " written"));
    out_.line(str("first token    ", human_seconds(last_.time_to_first_token)));
    if (last_.decode_seconds > 0) {  // the first token came with the prompt
      out_.line(str("speed          ", short_number(static_cast<double>(last_.new_tokens - 1) / last_.decode_seconds),
                    " tokens/s"));
    }
  }

  Tokenizer tokenizer_;
  BambaForCausalLM model_;
  GenerationConfig config_;
  ChatSession session_;
  Output out_;
  bool interactive_;
  ChatSession::Reply last_;
};

}  // namespace

void add_chat(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App& command = *program.add_subcommand("chat", "Talk to a model");
  add_model_flag(command, flags->model);
  command.add_option("--system", flags->system, "The system message")->type_name("TEXT");
  command.add_option("--load", flags->load, "Go on from a conversation that /save kept")->type_name("FILE");
  add_length_flags(command, flags->generation);
  add_sampling_flags(command, flags->generation);
  command.add_flag("--no-generation-config", flags->generation.no_generation_config,
                   "Leave the folder's generation_config.json aside");
  add_run_flags(command, flags->model);
  command.footer("In the conversation:\n" + std::string(kHelp) +
                 "\n"
                 "Examples:\n"
                 "  bamba chat\n"
                 "  bamba chat -m DIR --system \"Answer in one sentence.\" --do-sample --temperature 0.7\n"
                 "  printf 'Hello!\\nTell me a story.\\n' | bamba chat --greedy");
  command.callback([flags, &chosen] { chosen = [flags] { return Chat(*flags).run(); }; });
}

}  // namespace bamba::cli
