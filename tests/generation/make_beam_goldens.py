#!/usr/bin/env python3
"""Writes tests/golden/beam_search/cases.json: what Hugging Face Transformers generates from a scripted model.

The model is a table: logits(ids) = table[last id] + 0.5 * table[id before it] + a term of the length (so that the same
tokens in another order hardly ever tie), multiples of 2^-16, so the sums are exact and the C++ test can script the same
model. Random settings cover several eos ids, all kinds of early stopping,
length penalties of either sign, and processors inside beam search.

Needs torch and transformers 5.17. Run from the repository: python3 tests/generation/make_beam_goldens.py
"""

import json
import pathlib
import random

import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

VOCAB = 16
PAD = VOCAB - 1  # its logit is so low that it is never generated: padding can be told from tokens
UNIT = 32768  # of the numbers in the tables
CASES = 240


class ScriptConfig(PretrainedConfig):
    model_type = "scripted"

    def __init__(self, **kwargs):
        self.vocab_size = VOCAB
        self.num_hidden_layers = 1
        super().__init__(**kwargs)


class ScriptModel(PreTrainedModel, GenerationMixin):
    config_class = ScriptConfig

    def __init__(self, config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.table = None

    def forward(self, input_ids, attention_mask=None, **kwargs):
        logits = self.table[input_ids].clone()
        logits[:, 1:] += 0.5 * self.table[input_ids[:, :-1]]
        length = torch.arange(1, input_ids.shape[1] + 1)[:, None]
        token = torch.arange(VOCAB)[None, :]
        logits += ((length * length * 31 + token * token * 17 + length * token * 7) % 29) / 64
        return CausalLMOutput(logits=logits)

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return {"input_ids": input_ids}


def random_settings(rng):
    num_beams = rng.choice([1, 2, 3, 4, 5])
    eos = rng.sample(range(PAD), rng.choice([0, 1, 1, 2, 3]))
    settings = {"max_new_tokens": rng.randint(1, 10), "num_beams": num_beams, "eos_token_id": eos}
    if num_beams > 1:
        settings["num_return_sequences"] = rng.randint(1, num_beams)
        settings["early_stopping"] = rng.choice([False, True, "never"])
        settings["length_penalty"] = rng.choice([-1.0, 0.0, 0.6, 1.0, 2.0])
    if rng.random() < 0.3:
        settings["repetition_penalty"] = rng.choice([0.7, 1.2, 1.5])
    if rng.random() < 0.2:
        settings["no_repeat_ngram_size"] = rng.choice([1, 2, 3])
        settings["max_new_tokens"] = min(settings["max_new_tokens"], 6)
    if rng.random() < 0.2:
        settings["min_new_tokens"] = rng.randint(1, settings["max_new_tokens"])
    if rng.random() < 0.2:
        settings["bad_words_ids"] = [rng.sample(range(PAD), rng.choice([1, 2])) for _ in range(2)]
    if rng.random() < 0.1:
        settings["forced_eos_token_id"] = rng.randrange(PAD)
    return settings


def main():
    rng = random.Random(20)
    model = ScriptModel(ScriptConfig()).eval()
    tables = []
    for spread in (1.5 * UNIT, 4 * UNIT):
        table = [[rng.randint(int(-spread), int(spread)) for _ in range(VOCAB)] for _ in range(VOCAB)]
        for row in table:
            row[PAD] = -1000 * UNIT
        tables.append(table)
    cases = []
    while len(cases) < CASES:
        which = rng.randrange(len(tables))
        model.table = torch.tensor(tables[which], dtype=torch.float32) / UNIT
        prompt = [rng.randrange(PAD) for _ in range(rng.randint(2, 5))]
        settings = random_settings(rng)
        arguments = dict(settings, eos_token_id=settings["eos_token_id"] or None)
        config = GenerationConfig(do_sample=False, pad_token_id=PAD, use_cache=False, return_dict_in_generate=True,
                                  output_scores=True, **arguments)
        output = model.generate(torch.tensor([prompt]), generation_config=config,
                                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64))
        sequences = [[t for t in row[len(prompt):].tolist() if t not in (PAD, -1)] for row in output.sequences]
        case = {"table": which, "prompt": prompt, "settings": settings, "sequences": sequences}
        if settings["num_beams"] > 1:
            scores = output.sequences_scores.tolist()
            # Left out: exact ties, whose order torch.topk does not define, and results that only fill up the number.
            if len(set(scores)) < len(scores) or min(scores) < -1e8:
                continue
            case["scores"] = scores
        cases.append(case)
    path = pathlib.Path(__file__).parent.parent / "golden" / "beam_search" / "cases.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f'{{"transformers": "5.17.0", "vocab_size": {VOCAB}, "table_unit": {UNIT},\n'
                    f'"tables": {json.dumps(tables)},\n"cases": [\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
