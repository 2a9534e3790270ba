#!/usr/bin/env python3
"""Writes the demo model's corpus: little stories, explanations and conversations, one JSON object a line.

Needs nothing but Python. The same arguments give the same bytes, whatever the number of processes: document number i
of a split is drawn from a generator seeded with (seed, split, i).

    tools/make_corpus.py --out corpus --documents 400000                 # corpus/train-*.jsonl
    tools/make_corpus.py --out corpus --documents 4000 --split valid     # other seeds, same distribution
    tools/make_corpus.py --out corpus --documents 4000 --split composition

"composition" holds stories about pairs of a character and a thing that the training split never contains.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from corpus.documents import document  # noqa: E402

SPLITS = ("train", "valid", "composition")
SHARD = 20000


def documents(seed, split, start, stop):
    """The documents start .. stop - 1 of a split as (kind, text)."""
    for i in range(start, stop):
        yield document(random.Random(f"{seed}/{split}/{i}"), "composition" if split == "composition" else "train")


def write_shard(job):
    """Writes one shard; returns (documents, bytes of text)."""
    out, seed, split, shard, start, stop = job
    name = os.path.join(out, f"{split}-{shard:04d}.jsonl")
    size = 0
    with open(name + ".part", "w", encoding="utf-8") as f:
        for kind, text in documents(seed, split, start, stop):
            size += len(text.encode())
            f.write(json.dumps({"kind": kind, "text": text}, ensure_ascii=False) + "\n")
    os.replace(name + ".part", name)
    return stop - start, size


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the shards")
    parser.add_argument("--documents", type=int, default=400000)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--show", type=int, metavar="N", help="print N documents instead of writing files")
    args = parser.parse_args()
    if args.show:
        for kind, text in documents(args.seed, args.split, 0, args.show):
            print(f"=== {kind}\n{text}\n")
        return
    os.makedirs(args.out, exist_ok=True)
    jobs = [
        (args.out, args.seed, args.split, n, start, min(start + SHARD, args.documents))
        for n, start in enumerate(range(0, args.documents, SHARD))
    ]
    count = size = 0
    with multiprocessing.Pool(args.jobs) as pool:
        for n, b in pool.imap_unordered(write_shard, jobs):
            count += n
            size += b
            print(f"\r{count} documents, {size / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
