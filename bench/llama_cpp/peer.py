#!/usr/bin/env python3
"""Runs a GGUF model with llama.cpp through its C interface and prints one JSON object.

    python peer.py speed MODEL.gguf --threads N --prompts 512,2048 --gen 32
    python peer.py logits MODEL.gguf --threads N --ids IDS.json -o LOGITS.npy
"""
import argparse
import ctypes
import json
import random
import time

import llama_cpp
import numpy as np

BATCH = 512


class Model:
    def __init__(self, path, threads, context):
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = BATCH
        params.n_ubatch = BATCH
        params.n_threads = threads
        params.n_threads_batch = threads
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, ids, start, all_logits=False, last_logits=True):
        """Feeds at most BATCH ids at positions start, start + 1, ..."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_logits or (last_logits and i == len(ids) - 1)
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")

    def logits(self, index):
        pointer = llama_cpp.llama_get_logits_ith(self.context, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab,))

    def read(self, ids):
        for first in range(0, len(ids), BATCH):
            piece = ids[first : first + BATCH]
            self.decode(piece, first, last_logits=first + BATCH >= len(ids))


@llama_cpp.llama_log_callback
def _quiet(_level, _text, _data):
    pass


def speed(arguments):
    lengths = [int(n) for n in arguments.prompts.split(",")]
    began = time.perf_counter()
    model = Model(arguments.model, arguments.threads, -(-(max(lengths) + arguments.gen + 64) // 256) * 256)
    load = time.perf_counter() - began
    draw = random.Random(1)
    ids = [draw.randrange(model.vocab) for _ in range(max(lengths))]
    model.read(ids[:32])  # memory gets its pages
    prompt = {}
    decode = 0.0
    for index, length in enumerate(lengths):
        model.clear()
        began = time.perf_counter()
        model.read(ids[:length])
        token = int(model.logits(-1).argmax())
        prompt[str(length)] = length / (time.perf_counter() - began)
        if index == 0:
            began = time.perf_counter()
            for step in range(arguments.gen):
                model.decode([token], length + step)
                token = int(model.logits(-1).argmax())
            decode = arguments.gen / (time.perf_counter() - began)
    print(json.dumps({
        "load_seconds": load,
        "prompt_tokens_per_second": prompt,
        "decode_tokens_per_second": decode,
        "parameters": llama_cpp.llama_model_n_params(model.model),
        "weight_bytes": llama_cpp.llama_model_size(model.model),
        "version": llama_cpp.__version__,
        "system": llama_cpp.llama_print_system_info().decode(),
    }))


def logits(arguments):
    ids = json.loads(open(arguments.ids, encoding="utf-8").read())
    model = Model(arguments.model, arguments.threads, 512)
    model.decode(ids, 0, all_logits=True)
    np.save(arguments.output, np.stack([model.logits(i).copy() for i in range(len(ids))]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "logits"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompts", default="512")
    parser.add_argument("--gen", type=int, default=32)
    parser.add_argument("--ids")
    parser.add_argument("-o", "--output")
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments)
    else:
        logits(arguments)


if __name__ == "__main__":
    main()
