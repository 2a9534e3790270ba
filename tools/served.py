"""For the tools and tests that run `bamba serve`: the process, its metrics, and a small asynchronous HTTP client."""
import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "models" / "demo"
PATIENCE = 60  # seconds for what takes a fraction of one


def default_program():
    """$BAMBA_PROGRAM, else what a build has left."""
    given = os.environ.get("BAMBA_PROGRAM")
    if given:
        return pathlib.Path(given)
    for folder in ("build", "build-dev"):
        if (ROOT / folder / "bamba").exists():
            return ROOT / folder / "bamba"
    raise SystemExit("no bamba program found; build it, or give --program")


class Metrics(dict):
    """/metrics as {'bamba_name{label="x"}': value}; short names find what has no labels."""

    def __missing__(self, key):
        if not key.startswith("bamba_"):
            return self["bamba_" + key]
        raise KeyError(key)


class Served:
    """A running `bamba serve`, on a free port unless one is given."""

    def __init__(self, *flags, program=None, model=DEMO, key=None, port=0):
        self.program = program or default_program()
        self.key = key
        self.last_log = ""
        self.folder = tempfile.TemporaryDirectory(prefix="bamba-served-")
        self.port_file = pathlib.Path(self.folder.name) / "port"
        self.log_path = pathlib.Path(self.folder.name) / "log"
        command = [self.program, "serve", "-m", model, "--port", port, "--port-file", self.port_file, *flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        try:
            self.wait(lambda: self.port_file.exists() and self.port_file.read_text().strip(), "its port")
            self.port = int(self.port_file.read_text())
            self.url = f"http://127.0.0.1:{self.port}"
            self.wait(self.ready, "the model to be loaded")
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        code = self.stop()
        if failure is None and code != 0:
            raise RuntimeError(f"the server ended with code {code}:\n{self.log()[-4000:]}")

    def log(self):
        return self.last_log or self.log_path.read_text(errors="replace")

    def ended(self):
        self.last_log = self.last_log or self.log()
        self.folder.cleanup()

    def wait(self, condition, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with code {self.process.returncode}:\n{self.log()[-4000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {what}; the server's log ends with\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def ready(self):
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def headers(self):
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def get(self, path):
        """(status, text)"""
        return self.send(urllib.request.Request(self.url + path, headers=self.headers()))

    def post(self, path, body, **headers):
        """(status, parsed JSON)"""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {
            "Content-Type": "application/json", **self.headers(), **headers})
        status, text = self.send(request)
        return status, json.loads(text)

    @staticmethod
    def send(request):
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self):
        status, text = self.get("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics answered {status}")
        found = Metrics()
        for line in text.splitlines():
            match = re.fullmatch(r"(\w+(?:\{.*\})?) (\S+)", line)
            if match and not line.startswith("#"):
                found[match[1]] = float(match[2])
        return found

    def wait_idle(self, seconds=PATIENCE):
        """Until no request waits or runs and nothing of one is kept in memory but the cache."""
        def idle():
            now = self.metrics()
            return all(now[name] == 0 for name in (
                "queue_requests", "running_requests", "running_sequences", "preempted_requests",
                'state_bytes{use="running"}', 'state_bytes{use="preempted"}'))
        self.wait(idle, "all requests to end and their states to be freed", seconds)

    def rss(self):
        """Bytes of memory that the process has."""
        return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, seconds=PATIENCE):
        """Asks it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.ended()
        return code

    def kill(self):
        """As the system does when memory is out: without a chance to tidy up."""
        self.process.kill()
        self.process.wait()
        self.ended()


class Answer:
    """What came back for one request, as far as it came."""

    def __init__(self):
        self.status = None
        self.headers = {}
        self.text = ""
        self.body = b""         # of an answer that is no stream
        self.times = []         # of each piece of text
        self.began = time.perf_counter()
        self.usage = None
        self.finish_reason = None
        self.error = None       # an error event inside the stream
        self.done = False       # the stream came to its end


class Connection:
    """One connection that carries one request."""

    def __init__(self, port, key=None):
        self.port, self.key = port, key

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    def head(self, path, length, kind="application/json"):
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{key}"
                f"Content-Length: {length}\r\nConnection: close\r\n\r\n").encode()

    async def read_head(self, answer):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer.status = int(lines[0].split()[1])
        answer.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}

    async def pieces(self, answer):
        """The body, as it comes."""
        if answer.headers.get("transfer-encoding") == "chunked":
            while True:
                size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
                data = await self.reader.readexactly(size + 2)
                if size == 0:
                    return
                yield data[:-2]
        elif "content-length" in answer.headers:
            yield await self.reader.readexactly(int(answer.headers["content-length"]))
        else:
            while data := await self.reader.read(1 << 16):
                yield data

    async def request(self, path, body, answer=None, pause=0, leave_after=None):
        """Sends `body` and reads the answer. `pause`: seconds before each read, as a slow client does. `leave_after`:
        pieces of text after which the connection is dropped."""
        answer = answer or Answer()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.writer.write(self.head(path, len(data)) + data)
        await self.writer.drain()
        await self.read_head(answer)
        stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        rest = b""
        async for piece in self.pieces(answer):
            if not stream:
                answer.body += piece
                continue
            events = (rest + piece).split(b"\n\n")
            rest = events.pop()
            for event in events:
                self.take(event, answer)
                if leave_after is not None and len(answer.times) >= leave_after:
                    return answer
            if pause:
                await asyncio.sleep(pause)
        return answer

    @staticmethod
    def take(event, answer):
        if not event.startswith(b"data: "):
            return  # a comment
        if event == b"data: [DONE]":
            answer.done = True
            return
        value = json.loads(event[6:])
        if "error" in value:
            answer.error = value["error"]
            return
        answer.usage = value.get("usage") or answer.usage
        for choice in value["choices"]:
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
            if text:
                answer.text += text
                answer.times.append(time.perf_counter())
            answer.finish_reason = choice["finish_reason"] or answer.finish_reason


async def ask(port, path, body, key=None, **options):
    """One request on a connection of its own."""
    async with Connection(port, key) as connection:
        return await connection.request(path, body, **options)


def percentile(values, share):
    """The value that `share` of the values do not exceed; not a number for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
