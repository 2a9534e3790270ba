#!/usr/bin/env python3
"""Load on `bamba serve` with the demo model, and whether it stays right under it.

    tools/load_test.py                                 16 streams for 20 seconds
    tools/load_test.py --streams 64 --seconds 300

Streams of completions and conversations, greedy and seeded, run side by side with clients that cancel, vanish, read
slowly, and send what is malformed or too large. Then:

  - the text of every stream that came to its end is what the same request gives alone, on an idle server without a
    cache, to the last byte;
  - no request was lost: each ended, was refused with a status that fits, or was dropped by its client;
  - with the load gone, nothing of any request is left (states, sequences, connections, descriptors), and the memory
    of the process is not larger than it was after the first part of the run (small budgets only: with the default ones
    the cache still fills);
  - the server stops when asked to, with code 0.

Prints latencies and throughput as clients saw them. Exit code 0: all of this held.
"""
import argparse
import asyncio
import json
import pathlib
import random
import sys
import tempfile
import time

from served import Answer, Connection, Served, ask, default_program, percentile

OPENINGS = ["Once upon a time", "The old fisherman", "In a small village", "Anna has a red ball.", "There was a king who",
            "The river is", "A fox and a crow", "One cold morning", "My friend Tom likes", "The sun was low and"]
SYSTEM = "You tell short stories about animals. " * 12
MAX_BODY = 200_000


class Job:
    """A request that may be asked again; `key` tells whether two are the same."""

    def __init__(self, rng):
        opening = rng.choice(OPENINGS)
        self.body = {"max_tokens": rng.choice([8, 24, 48, 96]), "stream": True, "stream_options": {"include_usage": True},
                     "temperature": 0}
        if rng.random() < 0.5:  # few seeds: the same request comes again, alone and in other company
            self.body.update(temperature=0.9, top_p=0.95, seed=rng.randrange(6))
        if rng.random() < 0.5:
            self.path = "/v1/chat/completions"
            self.body["messages"] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": opening}]
        else:
            self.path = "/v1/completions"
            self.body["prompt"] = " ".join([opening] * rng.choice([1, 1, 20, 80]))
        self.key = json.dumps([self.path, self.body], sort_keys=True)


class Load:
    def __init__(self, server, arguments):
        self.server, self.arguments = server, arguments
        self.results = {}      # key -> (job, texts with their finish reasons)
        self.counts = {}
        self.problems = []
        self.first, self.between = [], []
        self.tokens = 0
        self.memory = []       # (seconds, bytes)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def problem(self, text):
        self.count("problems")
        if len(self.problems) < 20:
            self.problems.append(text)

    async def client(self, number, end):
        rng = random.Random(self.arguments.seed * 1000 + number)
        while time.monotonic() < end:
            kind = rng.choices(["whole", "leave", "cancel", "slow", "malformed", "large", "half"],
                               [70, 7, 7, 4, 5, 4, 3])[0]
            try:
                await asyncio.wait_for(getattr(self, kind)(rng), self.arguments.patience)
            except asyncio.TimeoutError:
                self.problem(f"{kind}: no end after {self.arguments.patience} s")
            except (OSError, asyncio.IncompleteReadError) as error:
                self.problem(f"{kind}: the connection broke: {error!r}")
                await asyncio.sleep(0.05)

    def judge(self, job, answer, timed=True):
        if answer.status in (429, 503):
            self.count(f"refused {answer.status}")
            return
        if answer.status != 200 or answer.error or not answer.done or answer.usage is None:
            self.problem(f"a stream ended with status {answer.status}, done {answer.done}, {answer.error} {answer.body[:200]}")
            return
        self.count("whole streams")
        self.tokens += answer.usage["completion_tokens"]
        if timed and answer.times:
            self.first.append(answer.times[0] - answer.began)
            self.between += [b - a for a, b in zip(answer.times, answer.times[1:])]
        self.results.setdefault(job.key, (job, set()))[1].add((answer.text, answer.finish_reason))

    async def whole(self, rng):
        job = Job(rng)
        # Some are urgent: others must make way for them.
        self.judge(job, await ask(self.server.port, job.path, {**job.body, "priority": rng.choice([0, 0, 0, 1])}))

    async def slow(self, rng):
        """Reads with pauses; it must get all of it, and hold up nobody."""
        job = Job(rng)
        self.count("slow readers")
        self.judge(job, await ask(self.server.port, job.path, job.body, pause=0.03), timed=False)

    async def leave(self, rng):
        """Closes the connection after some text."""
        job = Job(rng)
        self.count("left")
        await ask(self.server.port, job.path, {**job.body, "max_tokens": 400}, leave_after=rng.randrange(6))

    async def cancel(self, rng):
        """Vanishes at a random moment: while it connects, waits, or reads."""
        job = Job(rng)
        self.count("cancelled")
        task = asyncio.create_task(ask(self.server.port, job.path, {**job.body, "max_tokens": 400}, answer=Answer()))
        await asyncio.sleep(rng.random() ** 2 * 0.5)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    async def half(self, rng):
        """Sends half a body and goes."""
        self.count("half requests")
        async with Connection(self.server.port) as connection:
            connection.writer.write(connection.head("/v1/completions", 1000) + b'{"prompt": "')
            await connection.writer.drain()
            await asyncio.sleep(rng.random() * 0.2)

    async def malformed(self, rng):
        body, status = rng.choice([
            (b"{", 400), (b"[1, 2]", 400), (b'{"prompt": "\xff\xfe"}', 400), (b'{"prompt": 5}', 400), (b"", 400),
            (b'{"prompt": "a", "temperature": "hot"}', 400), (b'{"prompt": "a", "max_tokens": -3}', 400),
            (b'{"prompt": "a", "max_tokens": 1e9}', 400), (b'{"prompt": [99999999]}', 400),
            (b'{"prompt": "a", "n": 100000}', 400), (b'{"prompt": "a", "model": "nobody"}', 404),
            (b'{"prompt": ' + b"[" * 50000 + b"]" * 50000 + b"}", 400)])
        self.count("malformed")
        answer = await ask(self.server.port, "/v1/completions", body)
        if answer.status != status or not json.loads(answer.body)["error"]["message"]:
            self.problem(f"{body[:60]!r} was answered with {answer.status} {answer.body[:200]!r}, not {status}")

    async def large(self, rng):
        """More than --max-body: refused by its length, before it is sent; or a prompt longer than the context."""
        self.count("oversized")
        if rng.random() < 0.5:
            async with Connection(self.server.port) as connection:
                connection.writer.write(connection.head("/v1/completions", 10 * MAX_BODY))
                await connection.writer.drain()
                answer = Answer()
                await connection.read_head(answer)
            if answer.status != 413:
                self.problem(f"a body of {10 * MAX_BODY} bytes was answered with {answer.status}, not 413")
        else:
            answer = await ask(self.server.port, "/v1/completions", {"prompt": [5] * 40000, "max_tokens": 1})
            if answer.status != 400:
                self.problem(f"a prompt of 40000 tokens was answered with {answer.status}, not 400")

    async def watch(self, end, began):
        """Memory over time; and that the server goes on answering."""
        loop = asyncio.get_running_loop()
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            self.memory.append((time.monotonic() - began, self.server.rss()))
            status, _ = await loop.run_in_executor(None, self.server.get, "/health")
            if status != 200:
                self.problem(f"/health answered {status}")

    async def run(self):
        began = time.monotonic()
        end = began + self.arguments.seconds
        await asyncio.gather(*(self.client(i, end) for i in range(self.arguments.streams)), self.watch(end, began))
        return time.monotonic() - began


def check_alone(load, arguments):
    """Every request once more, by itself, on a server that keeps nothing of earlier ones."""
    with Served("--no-cache", "--log-format", "none", program=arguments.program) as server:
        for job, texts in load.results.values():
            answer = asyncio.run(ask(server.port, job.path, job.body))
            if not answer.done:
                load.problem(f"alone, {job.key[:200]} was answered with {answer.status} {answer.error}")
            elif texts != {(answer.text, answer.finish_reason)}:
                load.problem(f"{job.key[:200]}: alone it is {answer.text[:200]!r}, under load {sorted(texts)[0][0][:200]!r}")


def check_memory(load):
    """The highest of the last third of the run against the highest of the third before it."""
    length = load.arguments.seconds
    middle = [b for t, b in load.memory if length / 3 <= t < 2 * length / 3]
    last = [b for t, b in load.memory if t >= 2 * length / 3]
    if not middle or not last:
        return
    # The allocator keeps what a burst needed; what leaks grows with every request, by far more than this over minutes.
    allowed = 16 << 20
    if max(last) > max(middle) + allowed:
        load.problem(f"memory grew from {max(middle) / 1e6:.1f} MB to {max(last) / 1e6:.1f} MB in the last third of the run")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, help="the bamba program")
    parser.add_argument("--streams", type=int, default=16, help="clients at once")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--default-budgets", action="store_true",
                        help="the server's own, to measure; otherwise so small that requests make way for others")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120, help="seconds after which a request counts as stuck")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.program = arguments.program or default_program()
    with tempfile.TemporaryDirectory() as states:
        # Small budgets: requests must make way for others, snapshots must go, and some of both happens on disk.
        small = ["--max-sequences", 16, "--max-queue", 512, "--running-memory", "8MB", "--cache-memory", "24MB",
                 "--host-memory", "4MB", "--state-dir", states, "--state-dir-size", "64MB"]
        flags = [*([] if arguments.default_budgets else small), "--max-body", str(MAX_BODY), "--log-format", "none"]
        with Served(*flags, program=arguments.program) as server:
            idle = server.metrics()
            descriptors = server.descriptors()
            load = Load(server, arguments)
            seconds = asyncio.run(load.run())
            server.wait_idle()
            server.wait(lambda: server.metrics()["http_connections"] <= idle["http_connections"], "connections to close")
            if server.descriptors() > descriptors + 2:  # a file of the state folder may be on its way out
                load.problem(f"{server.descriptors()} descriptors are open; {descriptors} were before the load")
            metrics = server.metrics()
            if not arguments.default_budgets and 0 in (metrics["preemptions_total"], metrics["cache_evictions_total"]):
                load.problem("no request made way, or no snapshot was dropped: the load was too small for its budgets")
            memory = server.rss()
            code = server.stop()
            if code != 0:
                load.problem(f"the server ended with code {code}:\n{server.log()[-2000:]}")
    if not arguments.default_budgets:  # else the cache has not filled its budget yet
        check_memory(load)
    check_alone(load, arguments)
    if not load.results:
        load.problem("no stream came to its end")
    report = {
        "streams": arguments.streams, "seconds": seconds, "counts": load.counts, "different_requests": len(load.results),
        "completion_tokens_per_second": load.tokens / seconds,
        "engine_tokens_per_second": metrics["generated_tokens_total"] / seconds,
        "prefill_tokens": metrics["prefill_tokens_total"], "cached_tokens": metrics["cached_prompt_tokens_total"],
        "preemptions": metrics["preemptions_total"], "evictions": metrics["cache_evictions_total"],
        "disk_hits": metrics["cache_disk_hits_total"], "memory_bytes": memory,
        "time_to_first_token": {p: percentile(load.first, s) for p, s in (("p50", 0.5), ("p99", 0.99))},
        "inter_token": {p: percentile(load.between, s) for p, s in (("p50", 0.5), ("p99", 0.99))},
        "problems": load.problems,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"{arguments.streams} clients for {seconds:.0f} s: " + ", ".join(f"{n} {k}" for k, n in sorted(load.counts.items())))
        print(f"{len(load.results)} different requests, each compared with its run alone")
        print(f"tokens/s: {report['completion_tokens_per_second']:.0f} of whole streams, "
              f"{report['engine_tokens_per_second']:.0f} in all")
        for name, key in (("time to first token", "time_to_first_token"), ("between tokens", "inter_token")):
            print(f"{name}: p50 {report[key]['p50'] * 1e3:.1f} ms, p99 {report[key]['p99'] * 1e3:.1f} ms")
        print(f"prompt tokens: {report['prefill_tokens']:.0f} read, {report['cached_tokens']:.0f} from the cache; "
              f"{report['preemptions']:.0f} requests made way, {report['evictions']:.0f} snapshots dropped, "
              f"{report['disk_hits']:.0f} found on disk")
        print(f"memory at the end: {memory / 1e6:.1f} MB")
    for text in load.problems:
        print(f"load_test: {text}", file=sys.stderr)
    sys.exit(1 if load.problems else 0)


if __name__ == "__main__":
    main()
