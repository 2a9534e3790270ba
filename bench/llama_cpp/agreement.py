#!/usr/bin/env python3
"""Holds logits against each other: python agreement.py NAME=FILE... (.npy, or .safetensors with f32 `logits`).

The first is the reference. Prints a JSON list: the mean cosine similarity over positions, and the share of positions
with the same best token. Both are taken after each position's mean is subtracted.
"""
import json
import sys

import numpy as np


def load(path):
    if path.endswith(".npy"):
        return np.load(path)
    with open(path, "rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(header_bytes))["logits"]
        file.seek(8 + header_bytes + entry["data_offsets"][0])
        values = np.fromfile(file, dtype=np.float32, count=int(np.prod(entry["shape"])))
    return values.reshape(-1, entry["shape"][-1])


def main():
    names, paths = zip(*(argument.split("=", 1) for argument in sys.argv[1:]))
    centred = [values - values.mean(axis=1, keepdims=True) for values in map(load, paths)]
    reference = centred[0].astype(np.float64)
    rows = []
    for name, values in zip(names, centred):
        values = values.astype(np.float64)
        norms = np.linalg.norm(values, axis=1) * np.linalg.norm(reference, axis=1)
        rows.append({
            "name": name,
            "cosine": float(np.mean((values * reference).sum(axis=1) / norms)),
            "top1": float(np.mean(values.argmax(axis=1) == reference.argmax(axis=1))),
        })
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
