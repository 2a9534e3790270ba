#!/usr/bin/env python3
"""Bamba-9B's shape with the same random weights in bamba and in llama.cpp, side by side.

    bench/compare_llama_cpp.py --program build/bamba                       q4 and q8, all layers; needs 60 GB of disk
    bench/compare_llama_cpp.py --program build/bamba --layers 4            a quick look
    bench/compare_llama_cpp.py --program build/bamba --layers 4 --check    do both compute the same function?

The first run installs llama-cpp-python, gguf and numpy into a virtual environment under --work (llama.cpp is compiled
for this machine: some minutes), writes the weights once as a checkpoint and once as GGUF, and keeps all of it for the
next run. Then the engines take turns, each in a process of its own with the same number of threads; what is printed are
medians over the rounds. Prompts go in batches of 512 tokens; a decoding step is one token of one sequence after the
first of the prompts.
"""
import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["numpy", "gguf", "llama-cpp-python"]
PEER_TYPES = {"q4": "q4_0", "q8": "q8_0", "bf16": "bf16"}

# The published Bamba-9B.
CONFIG = {
    "architectures": ["BambaForCausalLM"], "model_type": "bamba", "dtype": "bfloat16", "vocab_size": 128256,
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "attn_layer_indices": [9, 18, 27], "mamba_n_heads": 128, "mamba_d_head": 64,
    "mamba_n_groups": 1, "mamba_d_state": 128, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_chunk_size": 256,
    "mamba_conv_bias": True, "mamba_proj_bias": False, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "tie_word_embeddings": False, "max_position_embeddings": 262144, "pad_token_id": 0, "bos_token_id": 128000,
    "eos_token_id": 128001,
}


def note(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)


def run(command, **options):
    """stdout of a command that must succeed."""
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False, **options)
    if result.returncode != 0:
        raise SystemExit(f"failed with code {result.returncode}: {' '.join(str(part) for part in command)}")
    return result.stdout


class Setup:
    """What both engines need on disk, made on first use."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.program = arguments.program
        self.work = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.layers = arguments.layers
        self.python = self.environment()
        self.can_quantize = subprocess.run([self.program, "quantize", "--help"], stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL, check=False).returncode == 0

    def environment(self):
        folder = self.arguments.venv or self.work / "venv"
        python = folder / "bin" / "python"
        if not python.exists():
            venv.create(folder, with_pip=True)
        known = subprocess.run([python, "-c", "import llama_cpp, gguf, numpy"], stderr=subprocess.DEVNULL, check=False)
        if known.returncode != 0:
            note(f"installing {', '.join(PACKAGES)} into {folder}; llama.cpp is compiled, which takes some minutes")
            flags = f"{self.arguments.peer_cmake} -DCMAKE_BUILD_TYPE=Release -DLLAVA_BUILD=OFF"
            run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *PACKAGES],
                env={**os.environ, "CMAKE_ARGS": flags})
        return python

    def checkpoint(self):
        folder = self.work / f"checkpoint-{self.layers}"
        if (folder / "config.json").exists():  # written last
            return folder
        config = dict(CONFIG, num_hidden_layers=self.layers)
        config["attn_layer_indices"] = [i for i in CONFIG["attn_layer_indices"] if i < self.layers]
        if not config["attn_layer_indices"] and self.layers > 1:
            config["attn_layer_indices"] = [self.layers // 2]  # a stack of both kinds of layers
        path = self.work / f"config-{self.layers}.json"
        path.write_text(json.dumps(config))
        note(f"writing {folder}")
        run([self.program, "init", "-o", folder, "--config", path, "--matrices", "repeated", "--dtype", "bf16"])
        return folder

    def gguf(self, format_name):
        kind = PEER_TYPES[format_name]
        head = self.arguments.head if format_name == "q4" else None
        path = self.work / f"bamba-{self.layers}-{kind}{f'-head-{head}' if head else ''}.gguf"
        if not path.exists():
            note(f"writing {path}")
            run([self.python, HERE / "llama_cpp" / "to_gguf.py", self.checkpoint(), path, "--type", kind,
                 *(["--head", head] if head else [])])
        return path

    def model_flags(self, format_name):
        """bamba's own model: quantized once where the program can, else as it is loaded."""
        if format_name == "bf16" or not self.can_quantize:
            return ["-m", self.checkpoint(), "--weights", format_name]
        folder = self.work / f"bamba-{self.layers}-{format_name}"
        if not (folder / "config.json").exists():
            note(f"writing {folder}")
            run([self.program, "quantize", "-m", self.checkpoint(), "-o", folder, "--weights", format_name])
        return ["-m", folder]


def measure_bamba(setup, format_name):
    arguments = setup.arguments
    out = {"prompt_tokens_per_second": {}}
    for index, length in enumerate(arguments.prompts):
        gen = arguments.gen if index == 0 else 1
        line = json.loads(run([setup.program, "bench", *setup.model_flags(format_name), "--threads", arguments.threads,
                               "--prompt", length, "--gen", gen, "--repeat", 1, "--json"]))
        out["prompt_tokens_per_second"][str(length)] = line["prompt_tokens_per_second"]
        if index == 0:
            for key in ("decode_tokens_per_second", "decode_share_of_bound", "load_seconds", "parameters",
                        "weight_bytes", "peak_memory_bytes", "machine_read_bytes_per_second",
                        "machine_int8_ops_per_second", "machine_f32_flops_per_second", "cpu_target", "version"):
                out[key] = line[key]
    return out


def measure_peer(setup, format_name):
    arguments = setup.arguments
    return json.loads(run([setup.python, HERE / "llama_cpp" / "peer.py", "speed", setup.gguf(format_name),
                           "--threads", arguments.threads, "--prompts", ",".join(map(str, arguments.prompts)),
                           "--gen", arguments.gen]))


def summary(rounds):
    """Medians of an engine's rounds."""
    last = rounds[-1]
    prompts = last["prompt_tokens_per_second"]
    return {
        **last,
        "prompt_tokens_per_second": {
            n: statistics.median(r["prompt_tokens_per_second"][n] for r in rounds) for n in prompts
        },
        "decode_tokens_per_second": statistics.median(r["decode_tokens_per_second"] for r in rounds),
        "load_seconds": statistics.median(r["load_seconds"] for r in rounds),
        "bits_per_weight": 8 * last["weight_bytes"] / last["parameters"],
        "rounds": rounds,
    }


def compare(setup, format_name):
    arguments = setup.arguments
    setup.gguf(format_name)
    setup.model_flags(format_name)
    ours, peer = [], []
    for index in range(arguments.rounds):
        note(f"{format_name}: round {index + 1} of {arguments.rounds}")
        ours.append(measure_bamba(setup, format_name))
        peer.append(measure_peer(setup, format_name))
    result = {"format": format_name, "peer_format": PEER_TYPES[format_name], "bamba": summary(ours),
              "llama_cpp": summary(peer)}
    result["ratios"] = {
        "prompt": {n: ours_speed / result["llama_cpp"]["prompt_tokens_per_second"][n]
                   for n, ours_speed in result["bamba"]["prompt_tokens_per_second"].items()},
        "decode": result["bamba"]["decode_tokens_per_second"] / result["llama_cpp"]["decode_tokens_per_second"],
    }
    return result


def print_results(results, arguments):
    peer = results[0]["llama_cpp"]
    print(f"{arguments.layers} layers of Bamba-9B, {arguments.threads} threads, medians of {arguments.rounds}; "
          f"llama-cpp-python {peer['version']}")
    for result in results:
        ours, peer, ratios = result["bamba"], result["llama_cpp"], result["ratios"]
        print(f"\n{'':26}{'bamba ' + result['format']:>14}{'llama.cpp ' + result['peer_format']:>18}{'ratio':>8}")
        rows = [(f"prompt {n}, tokens/s", speed, peer["prompt_tokens_per_second"][n], ratios["prompt"][n])
                for n, speed in ours["prompt_tokens_per_second"].items()]
        rows.append(("decode, tokens/s", ours["decode_tokens_per_second"], peer["decode_tokens_per_second"],
                     ratios["decode"]))
        for name, left, right, ratio in rows:
            print(f"{name:26}{left:14.2f}{right:18.2f}{ratio:7.2f}x")
        for name, key, scale in (("bits a weight", "bits_per_weight", 1), ("weights, GB", "weight_bytes", 1e-9),
                                 ("load, s", "load_seconds", 1)):
            print(f"{name:26}{ours[key] * scale:14.2f}{peer[key] * scale:18.2f}")
    machine = results[0]["bamba"]
    print(f"\nthe machine: {machine['cpu_target']}, reads {machine['machine_read_bytes_per_second'] / 1e9:.1f} GB/s, "
          f"{machine['machine_f32_flops_per_second'] / 1e9:.0f} GFLOP/s in f32, "
          f"{machine['machine_int8_ops_per_second'] / 1e9:.0f} GOP/s in int8")


def write_ids(path, ids):
    """A safetensors file with input_ids [1, n]."""
    data = struct.pack(f"<{len(ids)}q", *ids)
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [1, len(ids)], "data_offsets": [0, len(data)]}})
    text = header.encode().ljust(-(-len(header) // 8) * 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def check(setup):
    """Logits of a short prompt: bamba in bf16 against llama.cpp in each format, and against bamba's own."""
    arguments = setup.arguments
    ids = [(7919 * i + 13) % CONFIG["vocab_size"] for i in range(48)]
    ids_json = setup.work / "ids.json"
    ids_json.write_text(json.dumps(ids))
    ids_file = setup.work / "ids.safetensors"
    write_ids(ids_file, ids)
    logits = {}
    for format_name in dict.fromkeys(["bf16", *arguments.formats]):
        ours = setup.work / f"logits-{format_name}.safetensors"
        run([setup.program, "forward", *setup.model_flags(format_name), "--input", ids_file, "-o", ours])
        theirs = setup.work / f"logits-{format_name}.npy"
        run([setup.python, HERE / "llama_cpp" / "peer.py", "logits", setup.gguf(format_name), "--threads",
             arguments.threads, "--ids", ids_json, "-o", theirs])
        logits[f"bamba {format_name}"] = ours
        logits[f"llama.cpp {PEER_TYPES[format_name]}"] = theirs
    result = json.loads(run([setup.python, HERE / "llama_cpp" / "agreement.py",
                             *(f"{name}={path}" for name, path in logits.items())]))
    # The same weights in the same precision: only rounding is left.
    same = next(row for row in result if row["name"] == "llama.cpp bf16")
    return {"reference": "bamba bf16", "agreement": result, "ok": same["cosine"] > 0.999}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=HERE.parent / "build" / "bamba", help="the bamba program")
    parser.add_argument("--work", type=pathlib.Path, default=HERE.parent / "build-compare", help="folder for all files")
    parser.add_argument("--venv", type=pathlib.Path, help="a virtual environment to use instead of WORK/venv")
    parser.add_argument("--peer-cmake", default="-DGGML_NATIVE=ON", metavar="FLAGS",
                        help="how llama.cpp is compiled when it is installed (default: for this machine)")
    parser.add_argument("--layers", type=int, default=CONFIG["num_hidden_layers"], help="fewer for a quick look")
    parser.add_argument("--formats", default="q4,q8", help="of q4, q8, bf16 (llama.cpp: q4_0, q8_0, bf16)")
    parser.add_argument("--head", choices=["q6_k", "q8_0"],
                        help="llama.cpp's lm_head beside q4_0; its own tool for quantizing takes q6_k")
    parser.add_argument("--prompts", default="512,2048", help="lengths of the prompts")
    parser.add_argument("--gen", type=int, default=32, help="decoding steps, at least 16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--check", action="store_true", help="compare logits instead of speed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.formats = arguments.formats.split(",")
    arguments.prompts = [int(n) for n in arguments.prompts.split(",")]
    for name in arguments.formats:
        if name not in PEER_TYPES:
            parser.error(f"--formats: {name} is not one of {', '.join(PEER_TYPES)}")
    if arguments.gen < 16:
        parser.error("--gen: fewer than 16 steps are too short to measure")
    if not 1 <= arguments.layers <= CONFIG["num_hidden_layers"]:
        parser.error(f"--layers: 1 to {CONFIG['num_hidden_layers']}")
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    setup = Setup(arguments)
    if arguments.check:
        result = check(setup)
        if arguments.json:
            print(json.dumps(result))
        else:
            print(f"logits of {arguments.layers} layers against bamba bf16:")
            for row in result["agreement"]:
                print(f"  {row['name']:20} cosine {row['cosine']:.6f}   same best token {100 * row['top1']:.0f} %")
        if not result["ok"]:
            raise SystemExit("compare: llama.cpp and bamba do not compute the same function from these weights")
        return
    results = [compare(setup, name) for name in arguments.formats]
    if arguments.json:
        print(json.dumps({"layers": arguments.layers, "threads": arguments.threads, "rounds": arguments.rounds,
                          "formats": results}))
    else:
        print_results(results, arguments)


if __name__ == "__main__":
    main()
