#!/usr/bin/env python3
"""The same load on `bamba serve` and on llama.cpp's own server, with the same weights.

    bench/compare_llama_server.py --program build/bamba                the demo model
    bench/compare_llama_server.py --program build/bamba --layers 4     4 layers of Bamba-9B's shape, random weights

The first run installs numpy and gguf into a virtual environment under --work, fetches the source of llama.cpp that
llama-cpp-python carries on PyPI and compiles llama-server from it (many minutes); --peer-server names one that is there.
Servers run one after the other, with the same number of threads and of sequences at once. Two measurements:

  - streams: as many clients as sequences, each asking for one stream after the other; every prompt is new. Tokens a
    second of all, time to first token, time between tokens.
  - a conversation of ten turns, alone: how many tokens of prompt each turn runs through the model.

Prompts are token ids, and replies have a fixed length, so both do the same work.
"""
import argparse
import asyncio
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))

from compare_llama_cpp import CONFIG, PEER_TYPES, note, run  # noqa: E402
from served import DEMO, Served, ask, percentile  # noqa: E402

TURNS, NEW_TOKENS, REPLY = 10, 48, 32


class Setup:
    def __init__(self, arguments):
        self.arguments = arguments
        self.work = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.python = self.work / "venv" / "bin" / "python"
        if not self.python.exists():
            venv.create(self.work / "venv", with_pip=True)
        if subprocess.run([self.python, "-c", "import gguf, numpy"], stderr=subprocess.DEVNULL, check=False).returncode:
            note("installing numpy and gguf")
            run([self.python, "-m", "pip", "install", "--quiet", "numpy", "gguf"])
        self.server = arguments.peer_server or self.build_peer()
        self.model = DEMO if arguments.layers == 0 else self.checkpoint()
        self.vocab = json.loads((self.model / "config.json").read_text())["vocab_size"]

    def build_peer(self):
        build = self.work / "llama-server-build"
        server = build / "bin" / "llama-server"
        if server.exists():
            return server
        note("fetching llama-cpp-python's source")
        run([self.python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "-d", self.work,
             "llama-cpp-python"])
        archive = max(self.work.glob("llama_cpp_python-*.tar.gz"))
        source = self.work / archive.name.removesuffix(".tar.gz")
        if not source.exists():
            run(["tar", "-x", "-f", archive, "-C", self.work])
        note("compiling llama-server, which takes many minutes")
        run(["cmake", "-S", source / "vendor" / "llama.cpp", "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_OPENSSL=OFF",
             "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
             *self.arguments.peer_cmake.split()])
        run(["cmake", "--build", build, "--target", "llama-server", "-j", os.cpu_count()])
        return server

    def checkpoint(self):
        """Random weights with the demo model's tokenizer: both servers want a vocabulary."""
        layers = self.arguments.layers
        folder = self.work / f"served-{layers}"
        if (folder / "tokenizer.json").exists():  # written last
            return folder
        demo = json.loads((DEMO / "config.json").read_text())
        config = dict(CONFIG, num_hidden_layers=layers, vocab_size=demo["vocab_size"],
                      bos_token_id=demo["bos_token_id"], eos_token_id=demo["eos_token_id"], pad_token_id=demo["pad_token_id"])
        config["attn_layer_indices"] = [i for i in CONFIG["attn_layer_indices"] if i < layers] or [layers // 2]
        path = self.work / f"served-{layers}.json"
        path.write_text(json.dumps(config))
        note(f"writing {folder}")
        run([self.arguments.program, "init", "-o", folder, "--config", path, "--matrices", "repeated", "--dtype", "bf16"])
        for name in ("tokenizer_config.json", "tokenizer.json"):
            (folder / name).write_bytes((DEMO / name).read_bytes())
        return folder

    def gguf(self):
        kind = PEER_TYPES[self.arguments.format]
        path = self.work / f"{self.model.name}-{kind}-server.gguf"
        if not path.exists():
            note(f"writing {path}")
            libraries = sorted(self.server.parent.glob("libggml-base.so*")) + sorted(self.server.parent.parent.glob("lib/libggml-base.so*"))
            run([self.python, HERE / "llama_cpp" / "to_gguf.py", self.model, path, "--type", kind, "--tokenizer", self.model,
                 *(["--ggml", libraries[0]] if libraries else [])])
        return path


class Bamba:
    name = "bamba"

    def __init__(self, setup):
        arguments = setup.arguments
        self.served = Served("--weights", arguments.format, "--threads", arguments.threads, "--max-sequences",
                             arguments.streams, "--max-context", arguments.context, "--log-format", "none",
                             program=arguments.program, model=setup.model)
        self.port = self.served.port

    def stop(self):
        self.served.stop()

    def turn(self, ids):
        """(new ids, tokens of the prompt that were run)"""
        _, answer = self.served.post("/v1/completions", {
            "prompt": ids, "max_tokens": REPLY, "temperature": 0, "ignore_eos": True, "return_token_ids": True})
        usage = answer["usage"]
        return answer["choices"][0]["token_ids"], usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]


class Peer:
    name = "llama.cpp"

    def __init__(self, setup):
        arguments = setup.arguments
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        log = open(setup.work / "llama-server.log", "wb")
        self.log = log.name
        self.process = subprocess.Popen(
            [str(part) for part in (setup.server, "-m", setup.gguf(), "--host", "127.0.0.1", "--port", self.port,
                                    "--threads", arguments.threads, "--parallel", arguments.streams,
                                    "--ctx-size", arguments.streams * arguments.context)], stdout=log, stderr=log)
        end = time.monotonic() + 300
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise SystemExit(f"compare: llama-server did not start; see {self.log}")
            time.sleep(0.1)

    def ready(self):
        try:
            return Served.send(f"http://127.0.0.1:{self.port}/health")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def turn(self, ids):
        answer = asyncio.run(ask(self.port, "/completion", {
            "prompt": ids, "n_predict": REPLY, "temperature": 0, "ignore_eos": True, "return_tokens": True,
            "cache_prompt": True}))
        answer = json.loads(answer.body)
        return answer["tokens"], answer["timings"]["prompt_n"]


def new_prompt(rng, setup, length):
    return [rng.randrange(10, setup.vocab) for _ in range(length)]


async def one_client(server, setup, seed, end, out):
    rng = random.Random(seed)
    while time.monotonic() < end:
        answer = await ask(server.port, "/v1/completions", {
            "prompt": new_prompt(rng, setup, setup.arguments.prompt), "max_tokens": setup.arguments.gen, "temperature": 0,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}})
        if not answer.done or answer.usage["completion_tokens"] != setup.arguments.gen:
            raise SystemExit(f"compare: {server.name} ended a stream with {answer.status} {answer.error} {answer.usage} {answer.body[:300]}")
        out["tokens"] += answer.usage["completion_tokens"]
        if answer.times:
            out["first"].append(answer.times[0] - answer.began)
            out["between"].append((answer.times[-1] - answer.times[0]) / max(1, setup.arguments.gen - 1))


def measure(kind, setup):
    arguments = setup.arguments
    server = kind(setup)
    try:
        out = {"tokens": 0, "first": [], "between": []}

        async def load():
            end = time.monotonic() + arguments.seconds
            await asyncio.gather(*(one_client(server, setup, i, end, out) for i in range(arguments.streams)))

        began = time.monotonic()
        asyncio.run(load())
        seconds = time.monotonic() - began
        rng = random.Random(99)
        ids, read = [], []
        for _ in range(TURNS):
            ids += new_prompt(rng, setup, NEW_TOKENS)
            reply, count = server.turn(ids)
            read.append(count)
            ids += reply
    finally:
        server.stop()
    return {"tokens_per_second": out["tokens"] / seconds, "streams": len(out["first"]),
            "first_p50": percentile(out["first"], 0.5), "first_p99": percentile(out["first"], 0.99),
            "between_p50": percentile(out["between"], 0.5), "prefill_per_turn": read}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=HERE.parent / "build" / "bamba", help="the bamba program")
    parser.add_argument("--work", type=pathlib.Path, default=HERE.parent / "build-compare", help="folder for all files")
    parser.add_argument("--peer-server", type=pathlib.Path, help="a llama-server to use instead of compiling one")
    parser.add_argument("--peer-cmake", default="-DGGML_NATIVE=ON", metavar="FLAGS",
                        help="how llama.cpp is compiled (docs/benchmarks.md: processors with AMX)")
    parser.add_argument("--layers", type=int, default=0, help="of Bamba-9B's shape; 0: the demo model")
    parser.add_argument("--format", choices=PEER_TYPES, default="bf16")
    parser.add_argument("--streams", type=int, default=8, help="clients, and sequences at once")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--gen", type=int, default=64, help="tokens of a reply")
    parser.add_argument("--context", type=int, default=2048, help="tokens a sequence can hold")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.context < max(arguments.prompt + arguments.gen, TURNS * (NEW_TOKENS + REPLY)):
        parser.error("--context: too small for the prompt and its reply, or for the conversation")
    setup = Setup(arguments)
    results = {}
    for kind in (Bamba, Peer):
        note(f"measuring {kind.name}")
        results[kind.name] = measure(kind, setup)
    if arguments.json:
        print(json.dumps(results))
        return
    ours, peer = results["bamba"], results["llama.cpp"]
    print(f"{setup.model.name}, {arguments.format}, {arguments.threads} threads, {arguments.streams} streams for "
          f"{arguments.seconds:.0f} s, prompts of {arguments.prompt} tokens, replies of {arguments.gen}")
    print(f"{'':30}{'bamba':>12}{'llama.cpp':>12}{'ratio':>8}")
    for name, key, scale in (("tokens/s", "tokens_per_second", 1), ("first token p50, ms", "first_p50", 1e3),
                             ("first token p99, ms", "first_p99", 1e3), ("between tokens p50, ms", "between_p50", 1e3)):
        print(f"{name:30}{ours[key] * scale:12.1f}{peer[key] * scale:12.1f}{ours[key] / peer[key]:7.2f}x")
    for result, name in ((ours, "bamba"), (peer, "llama.cpp")):
        print(f"prompt tokens run in each of {TURNS} turns ({NEW_TOKENS} new ones), {name}: {result['prefill_per_turn']}")


if __name__ == "__main__":
    main()
