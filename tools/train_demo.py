#!/usr/bin/env python3
"""Trains the demo model from nothing: corpus, tokenizer, model, evaluation. Needs one GPU and torch + transformers.

    tools/train_demo.py --out models/demo                 # the model of this repository: 9 minutes of an H100
    tools/train_demo.py --out /tmp/tiny --tiny            # a minute on a CPU, to see that everything runs
"""

import argparse
import concurrent.futures
import json
import math
import multiprocessing
import os
import pathlib
import random
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers  # noqa: E402
from transformers import BambaConfig, BambaForCausalLM, GenerationConfig  # noqa: E402

from fast_bamba import document_positions, forward  # noqa: E402
from make_corpus import documents  # noqa: E402

BOS, EOS, PAD, SYSTEM, USER, ASSISTANT = range(6)
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' }}{{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")
ROW = 1024


# ------------------------------------------------------------------------------------------------------------ tokenizer


def train_tokenizer(texts, vocabulary, out):
    """A byte-level BPE with Llama 3's split, saved in the layout that AutoTokenizer reads."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in SPECIAL]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=SPECIAL[BOS] + " $A", pair=f"{SPECIAL[BOS]} $A {SPECIAL[BOS]}:1 $B:1",
                                      special_tokens=[(SPECIAL[BOS], BOS)])])
    tokenizer.save(str(out / "tokenizer.json"))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(i): dict(flags, content=t) for i, t in enumerate(SPECIAL)}
    write_json(out / "tokenizer_config.json", {
        "added_tokens_decoder": added, "bos_token": SPECIAL[BOS], "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False, "eos_token": SPECIAL[EOS], "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 32768, "pad_token": SPECIAL[PAD], "tokenizer_class": "PreTrainedTokenizerFast"})
    plain = {k: v for k, v in flags.items() if k != "special"}
    write_json(out / "special_tokens_map.json", {
        name: dict(plain, content=SPECIAL[i]) for name, i in (("bos_token", BOS), ("eos_token", EOS), ("pad_token", PAD))})
    return tokenizer


def write_json(path, value):
    """One JSON file, readable."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------------ data


def encode_shard(job):
    """Generates and encodes the documents of one shard: (lengths, ids, bytes of text)."""
    path, seed, split, start, stop = job
    tokenizer = Tokenizer.from_file(path)
    texts = [text for _, text in documents(seed, split, start, stop)]
    lengths, ids = [], []
    for text, e in zip(texts, tokenizer.encode_batch(texts)):
        one = e.ids if e.ids[-1] == EOS else e.ids + [EOS]
        lengths.append(len(one))
        ids.extend(one)
    return np.array(lengths, np.int32), np.array(ids, np.uint16), sum(len(t.encode()) for t in texts)


def encoded(pool, path, seed, split, count):
    """All documents of a split: a list of id arrays that fit into a row, and the bytes of all text."""
    shard = 2500
    jobs = [(path, seed, split, i, min(i + shard, count)) for i in range(0, count, shard)]
    docs, size, dropped = [], 0, 0
    for lengths, ids, n in pool.imap(encode_shard, jobs):
        size += n
        for piece in np.split(ids, np.cumsum(lengths)[:-1]):
            if len(piece) <= ROW:
                docs.append(piece)
            else:
                dropped += 1
    return docs, size, dropped


def pack(docs, seed):
    """Rows of whole documents: a random one first, then always the longest that still fits. [R, ROW] uint16."""
    rng = random.Random(seed)
    by_length = [[] for _ in range(ROW + 1)]
    order = list(range(len(docs)))
    rng.shuffle(order)
    for i in order:
        by_length[len(docs[i])].append(i)
    # The next shorter length that still has documents, found by following links.
    link = list(range(ROW + 1))

    def longest(room):
        root = room
        while root and not by_length[root]:
            if link[root] == root:
                link[root] = root - 1
            root = link[root]
        while room > root:
            link[room], room = root, link[room] if link[room] < room else room - 1
        return root

    rows, used = [], np.zeros(len(docs), bool)
    for first in order:
        if used[first]:
            continue
        bucket = by_length[len(docs[first])]
        bucket.remove(first) if len(bucket) < 64 else bucket.__setitem__(bucket.index(first), bucket[-1]) or bucket.pop()
        row, room = [first], ROW - len(docs[first])
        used[first] = True
        while room >= 8 and (length := longest(room)):
            i = by_length[length].pop()
            used[i] = True
            row.append(i)
            room -= length
        rows.append(row)
    out = np.full((len(rows), ROW), PAD, np.uint16)
    for r, row in enumerate(rows):
        at = 0
        for i in row:
            out[r, at:at + len(docs[i])] = docs[i]
            at += len(docs[i])
    return out


def targets(tokens):
    """Labels for packed rows [B, T]: the next token of the same document, and only what the model itself writes.

    What a user or the system says, the role marks and padding are -100."""
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    never = torch.full_like(index, -1)
    opened = torch.cummax(torch.where((tokens == USER) | (tokens == SYSTEM), index, never), 1).values
    closed = torch.cummax(torch.where(tokens == ASSISTANT, index, never), 1).values
    mark = tokens == ASSISTANT
    newline = F.pad(mark, (1, 0))[:, :-1]
    hidden = (opened > closed) | mark | newline | (tokens == BOS) | (tokens == PAD)
    labels = torch.where(hidden, torch.full_like(tokens, -100), tokens)
    return F.pad(labels, (0, 1), value=-100)[:, 1:]


# ----------------------------------------------------------------------------------------------------------------- model


def make_model(args):
    """A new model with transformers' initialisation, and time constants spread as in the Mamba-2 paper."""
    config = BambaConfig(
        vocab_size=args.vocabulary, hidden_size=args.hidden, intermediate_size=args.intermediate, num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64, num_key_value_heads=max(1, args.hidden // 128), attn_layer_indices=args.attention,
        mamba_n_heads=args.hidden * 2 // 64, mamba_d_head=64, mamba_n_groups=1, mamba_d_state=args.state, mamba_d_conv=4,
        mamba_expand=2, mamba_chunk_size=64, max_position_embeddings=32768, tie_word_embeddings=False,
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, initializer_range=0.02)
    torch.manual_seed(args.seed)
    model = BambaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            last = [layer.feed_forward.down_proj]
            if hasattr(layer, "mamba"):
                m = layer.mamba
                last.append(m.out_proj)
                step = torch.exp(torch.linspace(math.log(0.001), math.log(0.1), m.num_heads))
                m.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
                m.conv1d.weight.uniform_(-0.5, 0.5)
            else:
                last.append(layer.self_attn.o_proj)
            for linear in last:
                linear.weight.mul_(1 / math.sqrt(2 * args.layers))
    return model


def evaluate(model, rows, tokenizer, device, dtype):
    """Mean loss in nats a token and bits a byte over what the model itself writes."""
    width = torch.zeros(len(tokenizer.get_vocab()), dtype=torch.float64)
    for token, i in tokenizer.get_vocab().items():
        width[i] = 0 if i < len(SPECIAL) else len(token)  # in a byte-level vocabulary one character stands for one byte
    width = width.to(device)
    nats = count = size = 0.0
    with torch.no_grad():
        for i in range(0, len(rows), 32):
            tokens = torch.from_numpy(rows[i:i + 32].astype(np.int64)).to(device)
            labels = targets(tokens)
            logits = forward(model, tokens, document_positions(tokens, BOS), dtype)
            nats += F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum").item()
            told = labels[labels >= 0]
            count += told.numel()
            size += width[told].sum().item()
    return {"loss": nats / count, "perplexity": math.exp(nats / count), "bits_per_byte": nats / math.log(2) / size, "tokens": int(count)}


def check_against_transformers(model, docs, device):
    """The largest difference between our loss and transformers' own on single documents (float32)."""
    worst = 0.0
    with torch.no_grad():
        for doc in docs:
            ids = torch.from_numpy(doc.astype(np.int64)).to(device)[None]
            theirs = model(ids, labels=ids).loss.item()
            padded = F.pad(ids, (0, -ids.shape[1] % 64), value=PAD)
            logits = forward(model, padded, document_positions(padded, BOS), torch.float32)[:, :ids.shape[1]]
            ours = F.cross_entropy(logits[0, :-1], ids[0, 1:]).item()
            worst = max(worst, abs(ours - theirs))
    return worst


def make_loss(model, args, device):
    """The loss of a batch of packed rows, compiled on a GPU by a first call on a row of nothing."""
    cast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def loss_of(tokens):
        with cast:
            logits = forward(model, tokens, document_positions(tokens, BOS), dtype)
        return F.cross_entropy(logits.float().flatten(0, 1), targets(tokens).flatten(), ignore_index=-100)

    if device.type != "cuda":
        return loss_of
    compiled = torch.compile(loss_of)
    tokens = torch.full((args.batch, ROW), ASSISTANT + 1, device=device)
    tokens[:, 0] = BOS
    compiled(tokens).backward()
    model.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return compiled


def train(model, step_loss, rows, args, device):
    """AdamW with a warm-up and a cosine; returns tokens seen, seconds and steps."""
    data = torch.from_numpy(rows.view(np.int16)).to(device)
    flat = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": flat, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=args.lr,
                                  betas=(0.9, 0.95), eps=1e-8, fused=device.type == "cuda")
    generator = torch.Generator(device=device).manual_seed(args.seed)
    order, at, seen, step = torch.randperm(len(data), generator=generator, device=device), 0, 0, 0
    started = counted = time.time()
    model.train()
    while step < args.steps and time.time() - started < args.limit:
        if at + args.batch > len(data):
            order, at = torch.randperm(len(data), generator=generator, device=device), 0
        tokens = data[order[at:at + args.batch]].long()
        at += args.batch
        done = max(step / args.steps, (time.time() - started) / args.limit)
        rate = args.lr * min(1, (step + 1) / args.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = step_loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        seen += tokens.numel()
        if step == 10:
            loss.item()
            counted, at_ten = time.time(), seen
        if step % args.log == 0:
            value = loss.item()
            speed = (seen - at_ten) / (time.time() - counted) if step > 10 else 0
            print(f"step {step} loss {value:.4f} lr {rate:.2e} {time.time() - started:.0f} s, {speed:,.0f} tokens/s", flush=True)
    return seen, time.time() - started, step


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--documents", type=int, default=600000)
    parser.add_argument("--held-out", type=int, default=4000, help="documents of each held-out split")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--intermediate", type=int, default=768)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--attention", type=int, nargs="*", default=[3, 6])
    parser.add_argument("--state", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64, help="rows of 1024 tokens a step")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--limit", type=float, default=410, help="seconds of training at most; the schedule ends in time")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--log", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a very small model and little data")
    args = parser.parse_args()
    if args.tiny:
        args.documents, args.held_out, args.hidden, args.intermediate, args.layers, args.attention = 1000, 20, 128, 256, 3, [1]
        args.vocabulary, args.batch, args.steps, args.log, args.warmup = 1024, 2, 12, 4, 4
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    out = args.out
    out.mkdir(parents=True, exist_ok=True)

    clock = time.time()
    sample = (text for _, text in documents(args.seed, "train", 0, min(15000, args.documents)))
    tokenizer = train_tokenizer(sample, args.vocabulary, out)
    print(f"tokenizer: {tokenizer.get_vocab_size()} tokens, {time.time() - clock:.0f} s", flush=True)
    clock = time.time()
    model = make_model(args).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"model: {parameters} parameters, {2 * parameters / 1e6:.2f} MB in bf16", flush=True)
    path = str(out / "tokenizer.json")
    pool = multiprocessing.get_context("forkserver").Pool(os.cpu_count())
    with pool, concurrent.futures.ThreadPoolExecutor(1) as background:
        reading = background.submit(encoded, pool, path, args.seed, "train", args.documents)
        step_loss = make_loss(model, args, device)
        print(f"compiled: {time.time() - clock:.0f} s", flush=True)
        docs, size, dropped = reading.result()
        held = {split: encoded(pool, path, args.seed, split, args.held_out)[0] for split in ("valid", "composition")}
    count = sum(map(len, docs))
    print(f"corpus: {len(docs)} documents, {dropped} too long, {size / 1e6:.0f} MB, {count / 1e6:.1f} M tokens, {time.time() - clock:.0f} s", flush=True)
    clock = time.time()
    rows = pack(docs, args.seed)
    print(f"packed: {len(rows)} rows, {count / rows.size:.3f} full, {time.time() - clock:.0f} s", flush=True)

    seen, seconds, steps = train(model, step_loss, rows, args, device)

    torch.backends.cuda.matmul.allow_tf32 = False
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=True, temperature=0.7,
                                               top_p=0.9, top_k=50, max_new_tokens=400)
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    model = model.float().eval()
    report = {"parameters": parameters, "documents": len(docs), "corpus_bytes": size, "corpus_tokens": count, "steps": steps, "tokens_trained": seen,
              "seconds": round(seconds, 1), "tokens_per_second": round(seen / seconds), "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
              "loss_difference_to_transformers": check_against_transformers(model, held["valid"][:12], device)}
    for split, some in held.items():
        report[split] = evaluate(model, pack(some, args.seed), tokenizer, device, torch.float32)
    write_json(out / "training.json", report)
    print(json.dumps(report, indent=1), flush=True)


if __name__ == "__main__":
    main()
