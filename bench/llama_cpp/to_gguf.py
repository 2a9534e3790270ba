#!/usr/bin/env python3
"""Writes a Bamba checkpoint (safetensors, bf16 matrices) as GGUF for llama.cpp, tensor by tensor.

    python to_gguf.py CHECKPOINT OUT.gguf --type q4_0|q8_0|bf16 [--head TYPE] [--tokenizer FOLDER] [--ggml LIBRARY]

llama.cpp runs Bamba as its architecture "granitehybrid". What differs from the checkpoint: A_log becomes A = -exp(A_log),
and the rows of q_proj and k_proj are reordered, because llama.cpp rotates neighbouring pairs where Bamba rotates pairs
(j, j + rotary_dim / 2). Quantized blocks are made by llama.cpp's own code. All matrices get the type; the last one,
lm_head, another one if asked for (llama.cpp's tool for quantizing keeps it at q6_k). With --tokenizer the vocabulary of
that folder's tokenizer.json (byte-level BPE) comes along. Needs numpy, gguf, and for quantized types llama.cpp's
libggml-base: that of --ggml, or llama-cpp-python's.
"""
import argparse
import concurrent.futures
import ctypes
import json
import os
import pathlib

import gguf
import numpy as np

TYPES = {
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q6_k": gguf.GGMLQuantizationType.Q6_K,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}


class Checkpoint:
    """Tensors of a folder of bf16 safetensors, mapped."""

    def __init__(self, folder):
        self.entries = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            with open(path, "rb") as file:
                header_bytes = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(header_bytes))
            data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + header_bytes)
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                if entry["dtype"] != "BF16":
                    raise SystemExit(f"{path}: {name} is {entry['dtype']}; BF16 is needed")
                begin, end = entry["data_offsets"]
                self.entries[name] = (data, begin, end, entry["shape"])

    def bits(self, name):
        """uint16, in the tensor's shape."""
        data, begin, end, shape = self.entries[name]
        return data[begin:end].view(np.uint16).reshape(shape)

    def floats(self, name):
        return to_floats(self.bits(name))


def to_floats(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def load_quantizer(path):
    if path is None:
        import llama_cpp
        path = next((pathlib.Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.*"))
    library = ctypes.CDLL(str(path))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return quantize


def neighbouring_pairs(heads, head_dim, rotary_dim):
    """Row order that brings the pairs (j, j + rotary_dim / 2) of each head next to each other."""
    half = rotary_dim // 2
    one = np.concatenate([np.arange(rotary_dim).reshape(2, half).T.reshape(-1), np.arange(rotary_dim, head_dim)])
    return (np.arange(heads)[:, None] * head_dim + one[None, :]).reshape(-1)


def small_tensors(config, checkpoint, layer, attention):
    """(gguf name, f32 array) of a layer's tensors that are not matrices."""
    prefix = f"model.layers.{layer}."
    block = f"blk.{layer}."
    yield block + "attn_norm.weight", checkpoint.floats(prefix + "input_layernorm.weight")
    yield block + "ffn_norm.weight", checkpoint.floats(prefix + "pre_ff_layernorm.weight")
    if attention:
        return
    mamba = prefix + "mamba."
    yield block + "ssm_conv1d.weight", checkpoint.floats(mamba + "conv1d.weight").squeeze(1)
    yield block + "ssm_conv1d.bias", checkpoint.floats(mamba + "conv1d.bias")
    yield block + "ssm_dt.bias", checkpoint.floats(mamba + "dt_bias")
    yield block + "ssm_a", -np.exp(checkpoint.floats(mamba + "A_log")).reshape(-1, 1)
    yield block + "ssm_d", checkpoint.floats(mamba + "D").reshape(-1, 1)
    groups = config["mamba_n_groups"]
    yield block + "ssm_norm.weight", checkpoint.floats(mamba + "norm.weight").reshape(groups, -1)


def matrices(config, layer, attention):
    """(gguf name, checkpoint name, row order or None) of a layer's matrices."""
    prefix = f"model.layers.{layer}."
    block = f"blk.{layer}."
    if attention:
        head_dim = config["hidden_size"] // config["num_attention_heads"]
        orders = {
            "q": neighbouring_pairs(config["num_attention_heads"], head_dim, head_dim // 2),
            "k": neighbouring_pairs(config["num_key_value_heads"], head_dim, head_dim // 2),
            "v": None,
        }
        for part, order in orders.items():
            yield f"{block}attn_{part}.weight", f"{prefix}self_attn.{part}_proj.weight", order
        yield block + "attn_output.weight", prefix + "self_attn.o_proj.weight", None
    else:
        yield block + "ssm_in.weight", prefix + "mamba.in_proj.weight", None
        yield block + "ssm_out.weight", prefix + "mamba.out_proj.weight", None
    for part in ("gate", "up", "down"):
        yield f"{block}ffn_{part}.weight", f"{prefix}feed_forward.{part}_proj.weight", None


def write_metadata(writer, config, attention_layers):
    layers = config["num_hidden_layers"]
    hidden = config["hidden_size"]
    writer.add_context_length(config.get("max_position_embeddings", 262144))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    # A layer without KV heads is a Mamba layer.
    writer.add_head_count_kv([config["num_key_value_heads"] if i in attention_layers else 0 for i in range(layers)])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(hidden // config["num_attention_heads"] // 2)
    writer.add_rope_freq_base(float(config.get("rope_theta", 10000.0)))
    writer.add_rope_scaling_finetuned(True)  # the architecture's switch for rotary embeddings
    writer.add_ssm_conv_kernel(config["mamba_d_conv"])
    writer.add_ssm_state_size(config["mamba_d_state"])
    writer.add_ssm_group_count(config["mamba_n_groups"])
    writer.add_ssm_inner_size(config["mamba_expand"] * hidden)
    writer.add_ssm_time_step_rank(config["mamba_n_heads"])


def write_vocabulary(writer, folder, vocab_size):
    """The tokens and merges of a tokenizer.json; numbers without a token get an unused one."""
    tokenizer = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
    tokens = [f"<unused {i}>" for i in range(vocab_size)]
    kinds = [gguf.TokenType.UNUSED] * vocab_size
    for text, token in tokenizer["model"]["vocab"].items():
        tokens[token], kinds[token] = text, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], kinds[added["id"]] = added["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
    writer.add_eos_token_id(tokens.index("<|end_of_text|>"))


class Converter:
    def __init__(self, checkpoint, ggml, quantized):
        self.checkpoint = checkpoint
        self.quantize = load_quantizer(ggml) if quantized else None
        self.pool = concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def convert(self, name, kind, order):
        """The matrix's blocks, uint8 [rows, bytes of a row]; rows in pieces, by all threads."""
        bits = self.checkpoint.bits(name)
        rows, columns = bits.shape
        block, size = gguf.GGML_QUANT_SIZES[kind]
        out = np.empty((rows, columns // block * size), dtype=np.uint8)

        def piece(first):
            last = min(first + 512, rows)
            source = bits[first:last] if order is None else bits[order[first:last]]
            if kind == gguf.GGMLQuantizationType.BF16:
                out[first:last] = np.ascontiguousarray(source).view(np.uint8)
                return
            floats = to_floats(source)
            self.quantize(kind, floats.ctypes.data, out[first:last].ctypes.data, 0, last - first, columns, None)

        list(self.pool.map(piece, range(0, rows, 512)))
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("output")
    parser.add_argument("--type", choices=TYPES, required=True)
    parser.add_argument("--head", choices=TYPES)
    parser.add_argument("--tokenizer", help="folder with a tokenizer.json")
    parser.add_argument("--ggml", help="llama.cpp's libggml-base")
    arguments = parser.parse_args()
    config = json.loads((pathlib.Path(arguments.checkpoint) / "config.json").read_text())
    checkpoint = Checkpoint(arguments.checkpoint)
    attention_layers = set(config.get("attn_layer_indices") or [])
    kind = TYPES[arguments.type]

    small = [("output_norm.weight", checkpoint.floats("model.final_layernorm.weight"))]
    large = [("token_embd.weight", "model.embed_tokens.weight", None, kind)]
    for layer in range(config["num_hidden_layers"]):
        attention = layer in attention_layers
        small += list(small_tensors(config, checkpoint, layer, attention))
        large += [(*matrix, kind) for matrix in matrices(config, layer, attention)]
    large.append(("output.weight", "lm_head.weight", None, TYPES[arguments.head or arguments.type]))

    partial = arguments.output + ".partial"
    writer = gguf.GGUFWriter(partial, "granitehybrid")
    write_metadata(writer, config, attention_layers)
    if arguments.tokenizer:
        write_vocabulary(writer, arguments.tokenizer, config["vocab_size"])
    else:
        writer.add_tokenizer_model("no_vocab")
    for name, values in small:
        writer.add_tensor_info(name, values.shape, np.dtype(np.float32), values.nbytes)
    for name, source, _, of in large:
        rows, columns = checkpoint.bits(source).shape
        block, size = gguf.GGML_QUANT_SIZES[of]
        stored = columns // block * size
        writer.add_tensor_info(name, (rows, stored), np.dtype(np.uint8), rows * stored, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    converter = Converter(checkpoint, arguments.ggml, {arguments.type, arguments.head or "bf16"} != {"bf16"})
    for _, values in small:
        writer.write_tensor_data(np.ascontiguousarray(values, dtype=np.float32))
    for _, source, order, of in large:
        writer.write_tensor_data(converter.convert(source, of, order))
    writer.close()
    os.replace(partial, arguments.output)


if __name__ == "__main__":
    main()
