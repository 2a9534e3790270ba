"""A server that answers as `bamba serve` does, with what a test asks for: the last word of the last user message
that begins with "!" picks the behaviour.

    !slow       a word every 50 ms, 200 of them         !cut        the connection breaks after a few words
    !busy       429 with Retry-After: 1, once           !always     429 every time
    !teapot     500 with a message                      !broken     an error event inside the stream
    !markdown   code, lists, bold                       !hostile    HTML and script in every place
    !length     finish_reason length                    !long       some hundred lines
    !split      one byte at a time, with \\r\\n lines     !garbage    an event that is no JSON
    !echo       the request's own body as JSON
"""
import collections
import contextlib
import http.server
import json
import pathlib
import re
import socket
import threading
import time

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src" / "server" / "web" / "index.html"

MARKDOWN = """# A heading

Some **bold**, *italic* and `code <b>`.
A second line.

- one
- two
  - deeper
- three

3. third
4. fourth

```python
print("<hi>")  # **not bold**

x = 1
```
The end: 2 * 3 * 4 and snake_case, **open."""

HOSTILE = """<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2">

**<img src=x onerror="window.pwned = 3">** `<svg onload="window.pwned = 4">`

- <iframe src="javascript:parent.pwned = 5"></iframe>

```"><script>window.pwned=6</script>
</code></pre><script>window.pwned = 7</script>
```
[a](javascript:window.pwned=8) ![b](https://example.org/x.png) <style>body{display:none}</style>"""


class Mock:
    """State that tests set and read."""

    def __init__(self):
        self.key = None            # the API key that is asked for
        self.template = True       # whether the model has a chat template
        self.models = ["mock-model"]
        self.loading = 0           # how often 503 is the answer before the model is there
        self.requests = []         # (path, body, headers) of each POST
        self.aborted = 0           # streams that the client left
        self.counts = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def mock(self):
        return self.server.mock

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def error(self, status, message, code=None, **headers):
        self.answer(status, {"error": {"message": message, "type": "mock", "param": None, "code": code}}, **headers)

    def allowed(self):
        if self.mock.key is None or self.headers.get("Authorization") == f"Bearer {self.mock.key}":
            return True
        self.error(401, "no such key", "invalid_api_key")
        return False

    def do_GET(self):
        if self.path == "/":
            self.answer(200, PAGE.read_bytes(), "text/html; charset=utf-8", Cache_Control="no-cache",
                        Content_Security_Policy="frame-ancestors 'none'", X_Content_Type_Options="nosniff")
        elif self.path == "/v1/models":
            if self.mock.loading:
                self.mock.loading -= 1
                self.error(503, "the model is being loaded", "loading", Retry_After="1")
            elif self.allowed():
                self.answer(200, {"object": "list", "data": [{"id": name} for name in self.mock.models]})
        else:
            self.error(404, "no such page")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.mock.requests.append((self.path, body, dict(self.headers)))
        if not self.allowed():
            return
        chat = self.path == "/v1/chat/completions"
        if chat and not self.mock.template:
            self.error(400, "this model has no chat template", "no_chat_template")
            return
        if chat:
            last = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        else:
            last = body["prompt"].split("User: ")[-1]
        found = re.findall(r"!(\w+)", last)
        name = found[-1] if found else "plain"
        self.mock.counts[name] += 1
        if name == "always" or (name == "busy" and self.mock.counts[name] == 1):
            self.error(429, "too many requests", "rate_limit_exceeded", Retry_After="1")
        elif name == "teapot":
            self.error(500, "the kettle is cold")
        else:
            self.stream(chat, name, body, last)

    def stream(self, chat, name, body, last):
        pieces = re.findall(r"\S+\s*|\s+", {
            "markdown": MARKDOWN, "hostile": HOSTILE, "slow": "word " * 200, "echo": json.dumps(body),
            "long": "".join(f"Line {i}.\n\n" for i in range(300)), "split": "Grüße, 世界 🙂 done",
        }.get(name, f"You said: {last}"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for index, piece in enumerate(pieces):
                if name in ("cut", "broken", "garbage") and index == 2:
                    if name == "cut":
                        time.sleep(0.2)  # what a browser has not read by the break is lost
                        self.close_connection = True
                        return  # without the last chunk
                    self.event("{no json" if name == "garbage" else
                               {"error": {"message": "the model went away", "code": "internal"}}, name)
                    self.chunk(b"")
                    return
                self.choice(chat, piece, None, name)
                time.sleep(0.05 if name == "slow" else 0.002)
            self.choice(chat, "", "length" if name == "length" else "stop", name)
            self.event({"choices": [], "usage": {
                "prompt_tokens": 50, "completion_tokens": len(pieces), "total_tokens": 50 + len(pieces),
                "prompt_tokens_details": {"cached_tokens": 40}}, "timings": {"predicted_per_second": 123.4}}, name)
            self.event("[DONE]", name)
            self.chunk(b"")
        except OSError:
            self.mock.aborted += 1
            self.close_connection = True

    def choice(self, chat, text, finish, name):
        content = {"delta": {"content": text}} if chat else {"text": text}
        self.event({"choices": [{"index": 0, **content, "finish_reason": finish}]}, name)

    def event(self, value, name):
        data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if name == "split":
            for byte in f": a comment\r\ndata: {data}\r\n\r\n".encode():
                self.chunk(bytes([byte]))
        else:
            self.chunk(f"data: {data}\n\n".encode())

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.mock = Mock()
        self.open = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that goes away is part of the tests

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()
        for connection in list(self.open):  # kept alive by the client
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    server = Server(8099)
    print(server.url)
    server.serve_forever()
