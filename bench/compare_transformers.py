#!/usr/bin/env python3
"""Bamba-9B's shape with random weights in bamba and in Transformers, side by side on one GPU, in bf16.

    bench/compare_transformers.py --program build-cuda/bamba             everything: some ten minutes of an H100
    bench/compare_transformers.py --program build-cuda/bamba --rounds 1 --batches 1 --variants eager
    bench/compare_transformers.py --program build-cuda/bamba --rounds 1 --repeat 1 --prompt 0 --batches 32 \\
        --variants compiled                                              one step that takes minutes to compile
    bench/compare_transformers.py --program build/bamba --device cpu --shape tiny   does it run? needs no GPU

Needs torch and transformers (5 or newer), no network. The engines take turns in rounds; what is printed are medians
over the rounds. bamba runs as `bamba bench` in a process of its own; Transformers' model stays on the GPU meanwhile,
idle, with its caches and workspaces given back.

What is measured is the same for both: the time to read one prompt, up to the logits of its last token, and the time of
one greedy step for every sequence of a batch. The steps of Transformers are a plain loop, with the choice of the token
on the GPU, so none of generate()'s overhead counts; bamba's include bringing the logits to the CPU. "eager" is the
model as it comes with a DynamicCache, "compiled" torch.compile: of the steps with mode="reduce-overhead" (CUDA graphs)
and a StaticCache, of the prompt without a cache. Where mamba-ssm and causal-conv1d are installed, Transformers uses
their kernels and the output says so. A variant that fails is reported and does not end the run.
"""
import argparse
import gc
import inspect
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

# All models here are made in memory: no look-ups on a machine without a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402
import transformers  # noqa: E402

from compare_llama_cpp import CONFIG  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = {
    "bamba-9b": CONFIG,
    "tiny": dict(CONFIG, vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=8,
                 mamba_d_head=16, mamba_d_state=16, mamba_chunk_size=16, bos_token_id=1, eos_token_id=2),
}
WARM_UP_STEPS = 4
# Without mamba-ssm, Transformers multiplies out chunk x chunk x heads x state for every chunk, 34 GB at batch 8 with
# chunks of 256. The prompts before decoding are not measured and are read in small chunks, which changes no result.
SMALL_CHUNK = 16


def note(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)


class Bamba:
    """`bamba bench`, one process a measurement."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.last = None  # the newest JSON

    def bench(self, prompt, gen, batch):
        arguments = self.arguments
        command = [arguments.program, "bench", "--shape", arguments.shape, "--device", arguments.device, "--weights",
                   "bf16", "--prompt", prompt, "--gen", gen, "--batch", batch, "--repeat", arguments.repeat, "--json"]
        if arguments.device == "cuda":
            command += ["--gpu-memory", arguments.gpu_memory]
        result = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, check=False)
        if result.returncode != 0:
            lines = result.stderr.strip().splitlines() or ["no message"]
            raise RuntimeError(f"bamba bench ended with code {result.returncode}: {lines[-1]}")
        self.last = json.loads(result.stdout)
        return self.last

    def prompt_seconds(self, length):
        return statistics.median(self.bench(length, 1, 1)["prompt_seconds"])

    def step_seconds(self, batch):
        line = self.bench(self.arguments.context, self.arguments.gen, batch)
        return statistics.median(line["decode_seconds"]) / self.arguments.gen


class Peer:
    """Transformers' model and its ways to run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.device = torch.device(arguments.device)
        self.config = transformers.BambaConfig(**{k: v for k, v in SHAPES[arguments.shape].items()
                                                  if k not in ("architectures", "model_type", "dtype")})
        note(f"making the model for Transformers {transformers.__version__} on {self.device}")
        begin = time.perf_counter()
        torch.manual_seed(1)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(self.device):  # so that random numbers are drawn where the weights live
                self.model = transformers.BambaForCausalLM(self.config).eval()
        finally:
            torch.set_default_dtype(usual)
        self.synchronize()
        self.load_seconds = time.perf_counter() - begin
        self.parameters = sum(p.numel() for p in self.model.parameters())
        dtypes = {p.dtype for p in self.model.parameters()}
        if dtypes != {torch.bfloat16}:
            raise RuntimeError(f"weights of {dtypes}, not of bf16")
        # Renamed within Transformers 5.
        names = inspect.signature(self.model.forward).parameters
        self.cache_name = "cache" if "cache" in names else "past_key_values"
        self.compiled_prompt = torch.compile(self.read_alone, dynamic=False)
        self.compiled_step = torch.compile(self.step, mode="reduce-overhead", dynamic=False)
        self.static_caches = {}  # by batch: compiled steps hold on to the addresses
        torch._dynamo.config.recompile_limit = 64  # every batch is a shape of its own

    def kernels(self):
        """Packages whose kernels Transformers takes instead of its own Python."""
        found = []
        for package in ("mamba_ssm", "causal_conv1d"):
            try:
                __import__(package)
            except Exception:  # missing, or built for another torch: Transformers does without either
                continue
            found.append(package)
        return found

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def free(self):
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def random_ids(self, batch, length):
        generator = torch.Generator().manual_seed(batch * 1000003 + length)
        return torch.randint(0, self.config.vocab_size, (batch, length), generator=generator).to(self.device)

    def forward(self, ids, positions, cache):
        out = self.model(input_ids=ids, position_ids=positions, use_cache=cache is not None, logits_to_keep=1,
                         **{self.cache_name: cache})
        return out.logits[:, -1].argmax(dim=-1, keepdim=True)

    def read(self, ids, cache):
        return self.forward(ids, torch.arange(ids.shape[1], device=ids.device)[None], cache)

    def read_alone(self, ids):
        return self.read(ids, None)

    def step(self, ids, positions, cache):
        return self.forward(ids, positions, cache)

    def set_chunk(self, size):
        for layer in self.model.model.layers:
            if hasattr(layer, "mamba"):
                layer.mamba.chunk_size = size

    def timed(self, body):
        self.synchronize()
        begin = time.perf_counter()
        body()
        self.synchronize()
        return time.perf_counter() - begin

    @torch.no_grad()
    def prompt_seconds(self, variant, length):
        ids = self.random_ids(1, length)
        self.set_chunk(self.config.mamba_chunk_size)

        def body():
            if variant == "compiled":
                self.compiled_prompt(ids)
            else:
                self.read(ids, transformers.DynamicCache(config=self.config))

        body()  # compiles, and chooses kernels
        return statistics.median(self.timed(body) for _ in range(self.arguments.repeat))

    def new_cache(self, variant, batch):
        if variant == "eager":
            return transformers.DynamicCache(config=self.config)
        if batch not in self.static_caches:
            length = self.arguments.context + self.arguments.gen + WARM_UP_STEPS
            self.static_caches[batch] = transformers.StaticCache(config=self.config, max_cache_len=length)
        self.static_caches[batch].reset()
        return self.static_caches[batch]

    @torch.no_grad()
    def step_seconds(self, variant, batch):
        step = self.compiled_step if variant == "compiled" else self.step
        times = []
        for _ in range(self.arguments.repeat):
            cache = self.new_cache(variant, batch)
            self.set_chunk(min(SMALL_CHUNK, self.config.mamba_chunk_size))
            state = {"ids": self.read(self.random_ids(batch, self.arguments.context), cache)}
            self.set_chunk(self.config.mamba_chunk_size)
            positions = torch.full((1, 1), self.arguments.context, dtype=torch.long, device=self.device)

            def steps(count):
                for _ in range(count):
                    if variant == "compiled":
                        torch.compiler.cudagraph_mark_step_begin()
                    # A copy: the next replay of the graph writes to the same memory.
                    state["ids"] = step(state["ids"], positions, cache).clone()
                    positions.add_(1)

            steps(WARM_UP_STEPS)
            times.append(self.timed(lambda: steps(self.arguments.gen)) / self.arguments.gen)
        return statistics.median(times)

    def compilations(self):
        """What torch.compile made. Skipped CUDA graphs mean that steps were launched kernel by kernel after all."""
        counters = torch._dynamo.utils.counters
        return {"graphs": counters["stats"].get("unique_graphs", 0),
                "graph_breaks": sum(counters["graph_break"].values()),
                "cuda_graphs_skipped": counters["inductor"].get("cudagraph_skips", 0)}

    def peak_bytes(self, body):
        """(result, bytes of the GPU at most) of body()."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        result = body()
        return result, torch.cuda.max_memory_reserved() if self.device.type == "cuda" else None

    @torch.no_grad()
    def machine(self):
        """What the GPU does now: copies, bytes read and written a second; flops a second of a bf16 product."""
        size, n = (1 << 30, 8192) if self.device.type == "cuda" else (1 << 26, 512)
        source = torch.ones(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        left, right = (torch.randn(n, n, dtype=torch.bfloat16, device=self.device) for _ in range(2))

        def rate(amount, body, calls=10):
            body()
            return statistics.median(amount * calls / self.timed(lambda: [body() for _ in range(calls)])
                                     for _ in range(5))

        return {"copy_bytes_per_second": rate(2 * size, lambda: target.copy_(source)),
                "bf16_flops_per_second": rate(2 * n**3, lambda: torch.matmul(left, right))}


class Comparison:
    """All cases, round by round."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.bamba = Bamba(arguments)
        self.peer = Peer(arguments)
        self.cases = [{"what": "step", "tokens": batch, "batch": batch} for batch in arguments.batches]
        if arguments.prompt > 0:
            self.cases.insert(0, {"what": "prompt", "tokens": arguments.prompt, "batch": 1})
        self.engines = ["bamba", *arguments.variants]
        for case in self.cases:
            case["engines"] = {engine: {"seconds": [], "error": None} for engine in self.engines}
        self.machine = []

    def measure(self, case, engine):
        entry = case["engines"][engine]
        if entry["error"]:
            return
        name = f"prompt of {case['tokens']}" if case["what"] == "prompt" else f"step at batch {case['batch']}"
        begin = time.perf_counter()
        try:
            if engine == "bamba":
                seconds = (self.bamba.prompt_seconds(case["tokens"]) if case["what"] == "prompt"
                           else self.bamba.step_seconds(case["batch"]))
            else:
                seconds, peak = self.peer.peak_bytes(
                    lambda: self.peer.prompt_seconds(engine, case["tokens"]) if case["what"] == "prompt"
                    else self.peer.step_seconds(engine, case["batch"]))
                entry["peak_gpu_bytes"] = peak
            entry["seconds"].append(seconds)
            note(f"{engine}: {name}: {1e3 * seconds:.3f} ms ({time.perf_counter() - begin:.0f} s with all around it)")
        except Exception as error:  # out of memory, a compiler that gives up: the other cases still count
            entry["error"] = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            note(f"{engine}: {name} failed: {type(error).__name__}: {entry['error']}")
        self.peer.free()

    def run(self):
        for index in range(self.arguments.rounds):
            note(f"round {index + 1} of {self.arguments.rounds}")
            self.machine.append(self.peer.machine())
            self.peer.free()
            for case in self.cases:
                for engine in self.engines:
                    self.measure(case, engine)
                    if self.arguments.save:  # a run that is cut off has not been for nothing
                        self.arguments.save.write_text(json.dumps(self.result()))

    def result(self):
        for case in self.cases:
            for entry in case["engines"].values():
                # An engine that failed later on has figures, but not of every round.
                entry["median_seconds"] = statistics.median(entry["seconds"]) if entry["seconds"] else None
                entry["tokens_per_second"] = (case["tokens"] / entry["median_seconds"] if entry["seconds"] else None)
            ours = case["engines"]["bamba"]["median_seconds"]
            case["times_as_fast"] = {
                engine: case["engines"][engine]["median_seconds"] / ours
                if ours and case["engines"][engine]["median_seconds"] else None for engine in self.arguments.variants}
        arguments, line = self.arguments, self.bamba.last or {}
        return {
            "shape": arguments.shape, "device": arguments.device, "rounds": arguments.rounds,
            "repeat": arguments.repeat, "context": arguments.context, "gen": arguments.gen,
            "gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else None,
            "versions": {"bamba": line.get("version"), "torch": torch.__version__,
                         "transformers": transformers.__version__, "cuda": torch.version.cuda,
                         "python": sys.version.split()[0]},
            "kernels": self.peer.kernels(), "compilations": self.peer.compilations(),
            "parameters": self.peer.parameters,
            "peer_load_seconds": self.peer.load_seconds, "bamba_load_seconds": line.get("load_seconds"),
            "machine": {key: statistics.median(m[key] for m in self.machine) for key in self.machine[0]},
            "bamba_machine": {"copy_bytes_per_second": line.get("machine_read_bytes_per_second"),
                              "bf16_flops_per_second": line.get("machine_bf16_flops_per_second")},
            "cases": self.cases,
        }


def print_result(result):
    versions = result["versions"]
    print(f"{result['shape']}, {result['parameters'] / 1e9:.2f} billion parameters in bf16, on "
          f"{result['gpu'] or result['device']}; medians of {result['rounds']}")
    print(f"bamba {versions['bamba']}, Transformers {versions['transformers']} with "
          f"{' and '.join(result['kernels']) or 'no kernels of its own for Mamba'}, torch {versions['torch']}, "
          f"CUDA {versions['cuda']}")
    machine = result["machine"]
    print(f"torch measured copies at {machine['copy_bytes_per_second'] / 1e12:.2f} TB/s (read and written) and "
          f"{machine['bf16_flops_per_second'] / 1e12:.0f} TFLOP/s in bf16\n")
    print(f"{'':22}{'engine':12}{'ms':>11}{'tokens/s':>12}{'bamba is':>18}")
    failed = []
    for case in result["cases"]:
        name = f"prompt, {case['tokens']} tokens" if case["what"] == "prompt" else f"step, batch {case['batch']}"
        for engine, entry in case["engines"].items():
            if entry["error"]:
                failed.append(f"{name}, {engine}: {entry['error']}")
            if entry["median_seconds"] is None:
                print(f"{name:22}{engine:12}{'failed':>11}")
                continue
            ratio = case["times_as_fast"].get(engine)
            remark = f"{ratio:.2f}x as fast" if ratio else ""
            print(f"{name:22}{engine:12}{1e3 * entry['median_seconds']:11.3f}{entry['tokens_per_second']:12.1f}"
                  f"{remark:>18}".rstrip())
    skipped = result["compilations"]["cuda_graphs_skipped"]
    if skipped and result["gpu"]:
        print(f"torch.compile went without CUDA graphs for {skipped} graphs: the compiled steps are not at their best")
    for line in failed:
        print(f"failed: {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=HERE.parent / "build-cuda" / "bamba",
                        help="the bamba program")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="bamba-9b")
    parser.add_argument("--prompt", type=int, default=2048,
                        help="tokens of the measured prompt; 0: decoding steps only")
    parser.add_argument("--batches", default="1,8,32", help="sequences that are decoded together")
    parser.add_argument("--context", type=int, default=128, help="tokens before the steps")
    parser.add_argument("--gen", type=int, default=64, help="steps of a measurement")
    parser.add_argument("--variants", default="eager,compiled", help="of Transformers")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each engine")
    parser.add_argument("--repeat", type=int, default=3, help="measurements in a turn, whose median counts")
    parser.add_argument("--gpu-memory", default="40GB", help="for bamba, next to Transformers' weights")
    parser.add_argument("--save", type=pathlib.Path, metavar="FILE", help="keep the JSON here, from the first case on")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        arguments.batches = [int(n) for n in arguments.batches.split(",")]
    except ValueError:
        parser.error("--batches: numbers with commas between them")
    arguments.variants = arguments.variants.split(",")
    for name in arguments.variants:
        if name not in ("eager", "compiled"):
            parser.error(f"--variants: {name} is not one of eager, compiled")
    if arguments.prompt < 0:
        parser.error("--prompt: not below 0")
    for name in ("context", "gen", "rounds", "repeat"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: at least 1")
    if min(arguments.batches) < 1:
        parser.error("--batches: at least 1")
    if not arguments.program.is_file():
        parser.error(f"--program: there is no {arguments.program}")
    arguments.program = arguments.program.resolve()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("compare: torch finds no GPU")
    comparison = Comparison(arguments)
    comparison.run()
    result = comparison.result()
    if arguments.json:
        print(json.dumps(result))
    else:
        print_result(result)
    if all(entry["median_seconds"] is None for case in result["cases"] for entry in case["engines"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
