#!/usr/bin/env python3
"""deploy/'s proxies before three real replicas: conversations stay with theirs, and a rolling restart loses nothing."""
import asyncio
import contextlib
import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import served  # noqa: E402

NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
HAPROXY = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
if not NGINX or not HAPROXY or not shutil.which("curl"):
    print("skipped: no nginx, haproxy or curl (scripts/setup.sh --web installs them)", flush=True)
    sys.exit(77)

PORTS = ("8001", "8002", "8003")  # in deploy/'s files
FRONT = "8080"


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Replicas:
    def __init__(self, count):
        self.ports = free_ports(count)
        self.running = {port: self.start(port) for port in self.ports}

    @staticmethod
    def start(port):
        return served.Served("--threads", "1", "--log-format", "none", "--drain-seconds", "30", port=port)

    def restart(self, port):
        """As systemctl does: returns when the new process has been started."""
        code = self.running[port].stop()
        if code != 0:
            raise RuntimeError(f"a replica ended with code {code}: {self.running[port].log()[-2000:]}")
        self.running[port] = self.start(port)

    def stop(self):
        for server in self.running.values():
            server.stop()


class FakeSystemd:
    """A `systemctl` in a folder for PATH; `systemctl restart bamba@PORT` restarts that replica."""

    def __init__(self, replicas):
        restarted = self.restarted = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                port = int(self.path.split("@")[1])
                replicas.restart(port)
                restarted.append(port)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        script = pathlib.Path(self.folder.name) / "systemctl"
        script.write_text('#!/bin/sh\n[ "$1" = restart ] || exit 1\n'
                          f'exec curl --silent --fail -X POST "http://127.0.0.1:{self.server.server_address[1]}/$2"\n')
        script.chmod(0o755)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()


class ProxyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.replicas = Replicas(len(PORTS))

    @classmethod
    def tearDownClass(cls):
        cls.replicas.stop()

    def config(self, name, front):
        """deploy/NAME with other ports."""
        text = (ROOT / "deploy" / name).read_text()
        for old, new in zip((*PORTS, FRONT), (*self.replicas.ports, front)):
            text, count = re.subn(rf"127\.0\.0\.1:{old}\b", f"127.0.0.1:{new}", text)
            self.assertEqual(count, 1, f"{name} names 127.0.0.1:{old} {count} times")
        return text

    @contextlib.contextmanager
    def proxy(self, name):
        front, = free_ports(1)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / name
            if name == "nginx.conf":
                inner = pathlib.Path(folder) / "bamba.conf"
                inner.write_text(self.config(name, front))
                temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in
                                ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                path.write_text(f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\n"
                                f"events {{}}\nhttp {{ access_log off; {temp} include {inner}; }}\n")
                command = [NGINX, "-p", folder, "-e", f"{folder}/log", "-c", path]
            else:
                path.write_text(self.config(name, front))
                command = [HAPROXY, "-db", "-f", path]
            process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.wait_for(front)
                yield front
            finally:
                process.terminate()
                process.wait(30)

    def wait_for(self, front):
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                if served.Served.send(f"http://127.0.0.1:{front}/health")[0] == 200:
                    return
            self.assertLess(time.monotonic(), end, "the proxy does not answer")
            time.sleep(0.05)

    def ask(self, front, session, text, **options):
        body = served.json.dumps({"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8, **options})
        request = served.urllib.request.Request(f"http://127.0.0.1:{front}/v1/chat/completions", body.encode(),
                                                {"Content-Type": "application/json", "X-Session-Id": session})
        status, answer = served.Served.send(request)
        self.assertEqual(status, 200, answer)
        return served.json.loads(answer)

    def counts(self):
        """Conversations that each replica has answered."""
        name = 'bamba_http_requests_total{route="/v1/chat/completions",status="200"}'
        return [dict(server.metrics()).get(name, 0) for server in self.replicas.running.values()]

    def check_affinity(self, name):
        with self.proxy(name) as front:
            before = self.counts()
            for number in range(12):
                text = f"{name} {number}. " + "The river runs by the old mill. " * 20
                first = self.ask(front, f"session {number}", text)
                again = self.ask(front, f"session {number}", text)
                self.assertLess(first["usage"]["prompt_tokens_details"]["cached_tokens"], 40)
                self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 100, "another replica answered")
            used = [after - earlier for after, earlier in zip(self.counts(), before)]
            self.assertEqual(sum(used), 24)
            self.assertGreaterEqual(sum(1 for n in used if n > 0), 2, f"the replicas answered {used} times")
            status, _ = served.Served.send(f"http://127.0.0.1:{front}/metrics")
            self.assertEqual(status, 404)

    def check_rolling_restart(self, name):
        systemd = FakeSystemd(self.replicas)
        failures, done = [], []
        stop = threading.Event()

        async def client(front, number):
            turn = 0
            while not stop.is_set():
                turn += 1
                body = {"messages": [{"role": "user", "content": f"Client {number}, turn {turn}: tell me a story."}],
                        "temperature": 1, "max_tokens": 150, "stream": True, "stream_options": {"include_usage": True}}
                try:
                    answer = await served.ask(front, "/v1/chat/completions", body)
                    if answer.status == 200 and answer.done and not answer.error:
                        done.append(turn)
                    else:
                        failures.append(f"{answer.status} {answer.error} {answer.body[:200]}")
                except (OSError, asyncio.IncompleteReadError) as error:
                    failures.append(repr(error))

        async def clients(front):
            await asyncio.gather(*(client(front, number) for number in range(4)))

        with self.proxy(name) as front:
            load = threading.Thread(target=lambda: asyncio.run(clients(front)))
            load.start()
            try:
                time.sleep(1)
                result = subprocess.run([ROOT / "deploy" / "rolling_restart.sh", *map(str, self.replicas.ports)], text=True,
                                        env={**os.environ, "PATH": systemd.folder.name + ":" + os.environ["PATH"]},
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False)
                self.assertEqual(result.returncode, 0, result.stdout)
                time.sleep(1)
            finally:
                stop.set()
                load.join(120)
                systemd.stop()
        self.assertEqual(systemd.restarted, self.replicas.ports)
        self.assertEqual(failures, [])
        self.assertGreater(len(done), 3)

    def test_nginx_keeps_a_conversation_with_its_replica(self):
        self.check_affinity("nginx.conf")

    def test_haproxy_keeps_a_conversation_with_its_replica(self):
        self.check_affinity("haproxy.cfg")

    def test_rolling_restart_behind_nginx(self):
        self.check_rolling_restart("nginx.conf")

    def test_rolling_restart_behind_haproxy(self):
        self.check_rolling_restart("haproxy.cfg")


if __name__ == "__main__":
    unittest.main()
