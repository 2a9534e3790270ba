// bamba serve: the flags of the server.
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "server/serve.h"

namespace bamba::cli {
namespace {

constexpr double kMaxSeconds = 1e9;

struct ServeFlags {
  ModelFlags model;
  server::ServeOptions options;
  std::vector<std::string> keys, names;
  std::string key_file, port_file;
  std::string log = "text";
  std::string body, running, cache, host_memory, state_dir, state_dir_size;
  bool no_cache = false, no_page = false, no_generation_config = false;
};

CLI::Option* add_size(CLI::App& command, const char* name, std::string& value, const char* help, const char* group) {
  return command.add_option(name, value, help)->type_name("SIZE")->group(group);
}

CLI::Option* add_count(CLI::App& command, const char* name, int64_t& value, int64_t low, int64_t high, const char* help,
                       const char* group) {
  return command.add_option(name, value, help)->type_name("N")->check(whole_number(low, high))->group(group);
}

CLI::Option* add_seconds(CLI::App& command, const char* name, double& value, double low, const char* help,
                         const char* group) {
  return command.add_option(name, value, help)->type_name("SECONDS")->check(number(low, kMaxSeconds))->group(group);
}

void add_server_flags(CLI::App& command, ServeFlags& flags) {
  const char* group = "The server";
  server::HttpServerOptions& http = flags.options.http;
  command.add_option("--host", http.host, "Address to listen on (default 127.0.0.1: this machine only)")
      ->type_name("ADDRESS")
      ->group(group);
  command.add_option("--port", http.port, "Port to listen on (default 8000; 0: a free one, which is printed)")
      ->type_name("N")
      ->check(whole_number(0, 65535))
      ->group(group);
  command.add_option("--port-file", flags.port_file, "Write the port here once it is open")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--model-name", flags.names, "What requests call the model (repeatable; default: the folder's name)")
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--api-key", flags.keys,
                  "Answer only requests with this key (repeatable; others can see it in the list of processes)")
      ->type_name("KEY")
      ->allow_extra_args(false)
      ->group(group);
  command.add_option("--api-key-file", flags.key_file, "The same from a file, one key a line")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--cors-origin", flags.options.api.cors_origins,
                  "Let pages of this origin use the server (repeatable; '*': any)")
      ->type_name("ORIGIN")
      ->allow_extra_args(false)
      ->group(group);
  command.add_flag("--no-page", flags.no_page, "Do not serve the chat page at /")->group(group);
  command.add_option("--log-format", flags.log, "One line a request on stderr: text (default), json or none")
      ->type_name("text|json|none")
      ->check(one_of({"text", "json", "none"}))
      ->group(group);
  add_seconds(command, "--drain-seconds", flags.options.drain_seconds, 0,
              "For requests that run when the server is asked to stop (default 30)", group);
  command.add_option("--http-workers", http.workers, "Threads that read prompts and conversations (default 2)")
      ->type_name("N")
      ->check(whole_number(1, 64))
      ->group(group);
}

void add_limit_flags(CLI::App& command, ServeFlags& flags) {
  const char* group = "Limits for clients";
  server::HttpServerOptions& http = flags.options.http;
  add_count(command, "--max-connections", http.max_connections, 1, 100000, "Open connections (default 1024)", group);
  add_size(command, "--max-body", flags.body, "Size of a request's body (default 8MB)", group);
  add_seconds(command, "--header-seconds", http.header_seconds, 0.1, "For a request's whole header (default 10)",
              group);
  add_seconds(command, "--body-seconds", http.body_seconds, 0.1, "For a request's whole body (default 60)", group);
  add_seconds(command, "--idle-seconds", http.idle_seconds, 0.1, "Between two requests (default 75)", group);
  add_seconds(command, "--write-seconds", http.write_seconds, 0.1,
              "For a client to take what is written, besides 16 kB a second (default 30)", group);
  add_seconds(command, "--request-timeout", flags.options.request_seconds, 0,
              "For a whole reply, the wait in the queue included (default 0: no limit)", group);
  add_count(command, "--default-max-tokens", flags.options.default_max_tokens, 1, int64_t{1} << 40,
            "Tokens of a chat reply when neither the request nor generation_config.json says (default 1024)", group);
}

void add_engine_flags(CLI::App& command, ServeFlags& flags) {
  const char* group = "The engine";
  EngineOptions& engine = flags.options.engine;
  add_count(command, "--max-sequences", engine.max_sequences, 1, 65536, "Sequences that advance together (default 64)",
            group);
  add_count(command, "--step-tokens", engine.step_tokens, 0, int64_t{1} << 20,
            "Tokens of one step, prompts included (default 0: 256 on the CPU, 2048 on CUDA)", group);
  add_count(command, "--max-queue", engine.max_queue, 1, int64_t{1} << 20,
            "Requests that wait; further ones get status 429 (default 256)", group);
  add_count(command, "--max-context", engine.max_context, 0, int64_t{1} << 40,
            "Tokens of a prompt with its reply (default 0: the model's max_position_embeddings)", group);
  add_size(command, "--running-memory", flags.running,
           "For states of requests that run (default: half of what is free)", group);
  add_size(command, "--host-memory", flags.host_memory,
           "For states of requests that make way for others (default: a quarter of --running-memory; on CUDA as much)",
           group);
  add_size(command, "--cache-memory", flags.cache,
           "For snapshots of beginnings that requests share (default: a quarter of what is free)", group);
  command.add_flag("--no-cache", flags.no_cache, "Keep no snapshots: read every prompt from its start")->group(group);
  add_count(command, "--cache-stride", engine.cache_stride, 0, int64_t{1} << 40,
            "Long prompts leave a snapshot every N tokens (default 2048; 0: none)", group);
  command.add_option("--state-dir", flags.state_dir, "Keep snapshots in this folder too, over restarts")
      ->type_name("DIR")
      ->group(group);
  add_size(command, "--state-dir-size", flags.state_dir_size, "Of that folder (default 16 GiB)", group);
}

void read_sizes(ServeFlags& flags) {
  const auto read = [](const std::string& text, const char* flag, auto& value) {
    if (!text.empty()) value = static_cast<std::remove_reference_t<decltype(value)>>(parse_size(text, flag));
  };
  EngineOptions& engine = flags.options.engine;
  read(flags.body, "--max-body", flags.options.http.max_body_bytes);
  read(flags.running, "--running-memory", engine.running_bytes);
  read(flags.host_memory, "--host-memory", engine.host_bytes);
  read(flags.cache, "--cache-memory", engine.cache_bytes);
  read(flags.state_dir_size, "--state-dir-size", engine.state_dir_bytes);
  if (flags.no_cache && (!flags.cache.empty() || !flags.state_dir.empty())) {
    fail(ErrorCode::invalid_argument, "--no-cache goes without --cache-memory and --state-dir");
  }
  if (!flags.state_dir_size.empty() && flags.state_dir.empty()) {
    fail(ErrorCode::invalid_argument, "--state-dir-size goes with --state-dir");
  }
  engine.cache = !flags.no_cache;
  engine.state_dir = flags.state_dir;
}

ExitCode run(ServeFlags& flags) {
  const std::filesystem::path directory = model_directory(flags.model);
  server::ServeOptions& options = flags.options;
  read_sizes(flags);
  options.http.max_bodies_bytes = std::max(options.http.max_bodies_bytes, 4 * options.http.max_body_bytes);
  for (std::string& key : flags.keys) options.api.keys.add(std::move(key));
  if (!flags.key_file.empty()) options.api.keys.add_file(flags.key_file);
  if (!flags.port_file.empty()) check_writable(flags.port_file);
  options.api.page = !flags.no_page;
  options.api.version = BAMBA_VERSION;
  options.log = flags.log == "json"   ? server::LogFormat::json
                : flags.log == "none" ? server::LogFormat::none
                                      : server::LogFormat::text;
  options.names = flags.names;
  if (options.names.empty()) {
    // "models/demo/" and "." have no last part of their own.
    std::error_code error;
    const auto whole = std::filesystem::canonical(directory, error);
    options.names = {error || whole.filename().empty() ? "bamba" : whole.filename().string()};
  }

  const auto load = [&] {
    std::shared_ptr<const Tokenizer> tokenizer;
    if (auto found = load_tokenizer(flags.model)) tokenizer = std::make_shared<const Tokenizer>(*std::move(found));
    BambaForCausalLM model = load_model(flags.model);
    GenerationConfig defaults = flags.no_generation_config
                                    ? GenerationConfig::from_model_config(model.config())
                                    : GenerationConfig::from_pretrained(directory, model.config());
    defaults.num_beams = 1;
    defaults.num_return_sequences = 1;
    defaults.validate(model.config());
    return server::LoadedModel{std::move(model), std::move(tokenizer), std::move(defaults)};
  };
  const auto listening = [&](const std::string& url) {
    Output out;
    out.line("listening on " + url);
    out.commit();
    if (flags.port_file.empty()) return;
    AtomicFile file(flags.port_file);
    file.write(url.substr(url.rfind(':') + 1) + "\n");
    file.commit();
  };
  std::signal(SIGHUP, SIG_IGN);  // a closed terminal is no reason to stop serving
  server::serve(options, load, listening, [] { return interrupted(); });
  return ExitCode::ok;
}

}  // namespace

void add_serve(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<ServeFlags>();
  flags->options.http.port = 8000;
  CLI::App& command = *program.add_subcommand("serve", "Answer requests over HTTP, with OpenAI's API and a chat page");
  add_model_flag(command, flags->model);
  add_server_flags(command, *flags);
  add_limit_flags(command, *flags);
  add_engine_flags(command, *flags);
  command
      .add_flag("--no-generation-config", flags->no_generation_config,
                "Leave the folder's generation_config.json aside, whose settings requests begin with")
      ->group("Limits for clients");
  add_run_flags(command, flags->model);
  command.footer(
      "Routes: /v1/completions /v1/chat/completions /v1/models /tokenize /detokenize /health /metrics, and the chat\n"
      "page at /. SIGTERM or Ctrl-C lets running requests end (--drain-seconds); the second one stops at once.\n\n"
      "Examples:\n"
      "  bamba serve -m DIR --port 8000\n"
      "  bamba serve -m DIR --host 0.0.0.0 --api-key-file keys.txt --state-dir states --log-format json\n"
      "  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\\n"
      "    -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 40}'");
  command.callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace bamba::cli
