#!/usr/bin/env python3
"""That conversations on `bamba serve` cost only what is new, over turns, restarts and users.

    tools/conversation_test.py [--turns 20] [--system-tokens 4096]

  - turns: each turn of a conversation runs only its new tokens through the model, by the server's own counts;
  - restart: so does the turn after a kill -9, with --state-dir; and its reply is what it would have been without;
  - damage: files of that folder that were cut or altered are found, removed and made up for, with the same reply;
  - sharing: the second user of a long system prompt waits a tenth or less of what the first one waited.

Exit code 0: all of this held.
"""
import argparse
import asyncio
import pathlib
import sys
import tempfile
import time

from served import Served, ask, default_program

WORDS = ("Tell me about the fox and the river in the old village near the forest. ", "What did Anna do next? ",
         "And then? ", "Why was the king so sad that day? ", "Who helped him? ")
# A prompt is cached up to the end of the last message or of the reply. What follows is new: the template's marks
# around a message, which this many tokens always hold, whatever the template merges at the seam.
SEAM = 8


class Failed(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failed(text)


class Conversation:
    """One user's messages, and what each turn cost."""

    def __init__(self, system="You are a kind teller of stories.", max_tokens=24):
        self.messages = [{"role": "system", "content": system}]
        self.max_tokens = max_tokens

    def body(self, text):
        return {"messages": [*self.messages, {"role": "user", "content": text}], "temperature": 0,
                "max_tokens": self.max_tokens}

    def say(self, server, text):
        """The reply; its prompt's length, how much of it was cached, and how many tokens the model was run over."""
        before = server.metrics()
        status, answer = server.post("/v1/chat/completions", self.body(text))
        expect(status == 200, f"a turn was answered with {status} {answer}")
        after = server.metrics()
        reply = answer["choices"][0]["message"]["content"]
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
        usage = answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        read = int(after["prefill_tokens_total"] - before["prefill_tokens_total"])
        expect(read == usage["prompt_tokens"] - cached,
               f"the metrics count {read} tokens of prompt, the usage {usage['prompt_tokens']} less {cached}")
        return reply, usage["prompt_tokens"], cached, read

    def new_tokens(self, server, text):
        """What a turn adds to the last one's prompt: the last reply and this message, tokens of the marks included."""
        def count(messages, prompt):
            status, answer = server.post("/tokenize", {"messages": messages, "add_generation_prompt": prompt})
            expect(status == 200, f"/tokenize answered {status} {answer}")
            return answer["count"]
        whole = count([*self.messages, {"role": "user", "content": text}], True)
        return whole - count(self.messages, False)


def check_turns(server, turns, conversation):
    rows = []
    for turn in range(turns):
        text = WORDS[turn % len(WORDS)]
        new = conversation.new_tokens(server, text)
        _, prompt, cached, read = conversation.say(server, text)
        rows.append((prompt, cached, read))
        if turn > 0:
            expect(read <= new + SEAM, f"turn {turn + 1} read {read} of {prompt} tokens; only {new} were new")
    print(f"turns: {turns} turns, {sum(r[0] for r in rows)} tokens of prompts, {sum(r[2] for r in rows)} read; "
          f"the last: {rows[-1][0]} tokens, {rows[-1][2]} read")


def replies_without_cache(program, conversation, texts):
    """What `texts` are answered with when nothing is cached."""
    copy = Conversation(max_tokens=conversation.max_tokens)
    copy.messages = list(conversation.messages)
    with Served("--no-cache", "--log-format", "none", program=program) as server:
        return [copy.say(server, text)[0] for text in texts]


def check_restart(program, turns):
    with tempfile.TemporaryDirectory() as states:
        flags = ["--state-dir", states, "--log-format", "none"]
        conversation = Conversation()
        server = Served(*flags, program=program)
        try:
            check_turns(server, turns, conversation)
            # The folder is written beside the work: give it a moment, as a crash may come any time after.
            server.wait(lambda: settled(server), "snapshots to be written")
        finally:
            server.kill()
        expected = replies_without_cache(program, conversation, WORDS[:2])
        with Served(*flags, program=program) as server:
            new = conversation.new_tokens(server, WORDS[0])
            reply, prompt, _, read = conversation.say(server, WORDS[0])
            expect(read <= new + SEAM, f"after kill -9 the next turn read {read} of {prompt} tokens; only {new} were new")
            expect(server.metrics()["cache_disk_hits_total"] >= 1, "the metrics count no hit on disk")
            expect(reply == expected[0], f"after kill -9 the reply is {reply!r}, not {expected[0]!r}")
        print(f"restart: after kill -9 the next turn read {read} of {prompt} tokens")
        check_damage(program, flags, pathlib.Path(states), conversation, expected[1])


def settled(server, seconds=1.0):
    """Whether the folder's size has stayed the same for some time."""
    def size():
        now = server.metrics()
        return now['state_bytes{use="disk"}'], now['cache_snapshots{place="disk"}']
    before = size()
    time.sleep(seconds)
    return before[1] > 0 and size() == before


def check_damage(program, flags, states, conversation, expected):
    files = sorted(path for path in states.rglob("*") if path.is_file() and path.stat().st_size > 4096)
    expect(files, f"no file of a state in {states}")
    for index, path in enumerate(files):
        data = bytearray(path.read_bytes())
        if index % 2 == 0:
            data[len(data) * 2 // 3] ^= 0x10  # one bit, somewhere among the numbers
        else:
            del data[len(data) // 2:]
        path.write_bytes(data)
    with Served(*flags, program=program) as server:
        reply, prompt, cached, read = conversation.say(server, WORDS[1])
        rejected = int(server.metrics()["cache_disk_rejected_total"])
        expect(cached == 0 and read == prompt, f"{cached} tokens came from damaged files")
        expect(rejected >= 1, "the metrics count no rejected file")
        expect(reply == expected, f"after the damage the reply is {reply!r}, not {expected!r}")
    print(f"damage: {len(files)} files damaged, {rejected} looked at and rejected, the whole prompt of {prompt} tokens read")


def first_token_seconds(server, system, text):
    body = {**Conversation(system, max_tokens=4).body(text), "stream": True, "stream_options": {"include_usage": True}}
    answer = asyncio.run(ask(server.port, "/v1/chat/completions", body))
    expect(answer.done and answer.times, f"a stream ended with {answer.status} {answer.error} {answer.body[:200]}")
    return answer.times[0] - answer.began, answer.usage


def check_sharing(program, tokens):
    with Served("--log-format", "none", program=program) as server:
        _, answer = server.post("/tokenize", {"prompt": WORDS[0] * 10})
        one = answer["count"] // 10
        ratios = []
        for round_ in range(3):  # a fresh prompt each time; the best of three, for others may use the machine
            system = f"Rule {round_}. " + WORDS[0] * (tokens // one + 1)
            first, _ = first_token_seconds(server, system, "Hello.")
            second, usage = first_token_seconds(server, system, "Good morning to you.")
            ratios.append(second / first)
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            expect(cached >= tokens, f"the second user's prompt of {usage['prompt_tokens']} tokens had {cached} cached")
            print(f"sharing: {tokens} tokens shared; first token after {first:.3f} s, for the second user {second:.3f} s")
        expect(min(ratios) <= 0.1, f"the second user waited {100 * min(ratios):.0f} % of the first one's time")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, help="the bamba program")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--system-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    program = arguments.program or default_program()
    try:
        check_restart(program, arguments.turns)
        check_sharing(program, arguments.system_tokens)
    except Failed as error:
        sys.exit(f"conversation_test: {error}")


if __name__ == "__main__":
    main()
