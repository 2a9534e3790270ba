#!/usr/bin/env python3
"""Writes tests/golden/demo/expected.json: what Transformers computes with the demo model in float32 on a CPU.

    tools/make_demo_goldens.py models/demo tests/golden/demo/expected.json
"""

import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW = 60
MINIMAL_GAP = 1e-3
PROMPTS = [
    "Once upon a time, there lived a curious fox named Fern.",
    "Question: Why is the sky blue?\nAnswer:",
    "How to make pancakes\n\n",
    "The wind blew over the harbour, and the lighthouse keeper",
    [("user", "Tell me a story about an owl and a kite.")],
    [("user", "What do bees make?"), ("assistant", "Bees make honey and wax."), ("user", "Why does bread rise?")],
    "Autumn\n\nThe leaves come down in red and gold,\n",
    [("user", "Hello!")],
    "There was once a robot called Flint, who lived on a moon base with round windows.",
    "Why does it rain?\n\n",
]
TEXT = (
    "The Lost Lantern\n\nOnce upon a time, there lived a curious hedgehog named Poppy. She lived in a snug burrow under an oak, "
    "deep in a green forest. One day, Poppy took the lantern along on a walk. She had never seen Zanzibar, and 27 zebras did not "
    "bother her: \u201cna\u00efve caf\u00e9s!\u201d she said."
)


def main():
    """Command line: model folder, output file."""
    folder, out = sys.argv[1], pathlib.Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    with torch.no_grad():
        for prompt in PROMPTS:
            if isinstance(prompt, str):
                case, ids = {"prompt": prompt}, tokenizer(prompt)["input_ids"]
            else:
                messages = [{"role": role, "content": text} for role, text in prompt]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                case, ids = {"messages": messages, "prompt": text}, tokenizer(text, add_special_tokens=False)["input_ids"]
            run = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW, top_k=None, top_p=None, temperature=None,
                                 output_logits=True, return_dict_in_generate=True)
            best = torch.stack(run.logits)[:, 0].topk(2).values
            gaps = (best[:, 0] - best[:, 1])
            new = run.sequences[0, len(ids):].tolist()
            if gaps.min().item() <= MINIMAL_GAP:
                print("left out, its gap is too small:", repr(case["prompt"]))
                continue
            cases.append(dict(case, input_ids=ids, new_ids=new, new_text=tokenizer.decode(new, skip_special_tokens=True),
                              ended=new[-1] == tokenizer.eos_token_id, minimal_gap=gaps.min().item()))
        ids = tokenizer(TEXT)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0]
        picked = torch.log_softmax(logits[:-1].double(), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    expected = {
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__, "dtype": "float32", "device": "cpu"},
        "greedy": cases,
        "text": {"text": TEXT, "input_ids": ids, "sum_log_prob": picked.sum().item(), "log_probs": picked.tolist(),
                 "perplexity": torch.exp(-picked.mean()).item(), "last_logits_first_16": logits[-1, :16].tolist()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(cases)} prompts, smallest gap {min(c['minimal_gap'] for c in cases):.4f}")


if __name__ == "__main__":
    main()
