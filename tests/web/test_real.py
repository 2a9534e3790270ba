#!/usr/bin/env python3
"""The chat page in a real browser, served by `bamba serve` with the demo model."""
import json
import pathlib
import sys
import tempfile
import unittest

import browser
from browser import Keys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import served  # noqa: E402

KEY = "a-key-for-this-test"


class RealTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = served.Served("--api-key", KEY, "--log-format", "none", key=KEY)
        cls.page = browser.Page()

    @classmethod
    def tearDownClass(cls):
        cls.page.quit()
        code = cls.server.stop()
        if code != 0:  # a sanitizer's report, say
            raise AssertionError(f"the server ended with code {code}:\n{cls.server.log()[-4000:]}")

    def setUp(self):
        self.page.load(self.server.url + "/")
        self.page.wait(lambda: "asks for an API key" in self.page.find("#banner").text, "the banner")
        self.page.open_settings()
        self.page.set_field("key", KEY)
        self.page.set_field("temperature", "0")
        self.page.set_field("max_tokens", "40")
        self.page.close_settings()
        self.page.wait(lambda: self.page.find("#model").text == "demo", "the model's name")

    def tearDown(self):
        self.assertEqual(self.page.complaints(), [], "the console")

    def test_headers(self):
        request = served.urllib.request.Request(self.server.url + "/")
        with served.urllib.request.urlopen(request) as response:
            self.assertEqual(response.headers["Content-Type"], "text/html; charset=utf-8")
            self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
            self.assertIn("frame-ancestors 'none'", response.headers["Content-Security-Policy"])
            self.assertEqual(response.read(), (ROOT / "src" / "server" / "web" / "index.html").read_bytes())

    def test_a_conversation(self):
        self.page.driver.get_log("performance")
        self.page.send("Tell me a story.")
        self.assertEqual(self.page.problem(), "")
        first = self.page.last_reply()
        status, answer = self.server.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 0, "max_tokens": 40})
        self.assertEqual(status, 200)
        words = answer["choices"][0]["message"]["content"]
        self.assertEqual(first.split(), words.split())
        stats = self.page.find(".stats").text
        self.assertIn(f"{answer['usage']['completion_tokens']} tokens", stats)
        self.assertRegex(stats, r"\d tokens/s")
        # The second turn's prompt begins with the first one, which is cached.
        self.page.send("And then?")
        self.assertRegex(self.page.all(".stats")[-1].text, r"[1-9]\d* of \d+ prompt tokens cached")
        self.page.find(".retry").click()
        self.page.done()
        self.assertEqual(len(self.page.replies()), 2)
        urls = self.page.requested()
        self.assertEqual([u for u in urls if not u.startswith((self.server.url + "/", "data:"))], [])

    def test_stop_frees_the_server(self):
        self.page.open_settings()
        self.page.set_field("max_tokens", "20000")
        self.page.set_field("temperature", "1.5")
        self.page.close_settings()
        for _ in range(5):  # a reply may end by itself before the key is pressed
            self.page.send("Tell me a very long story.", wait=False)
            self.page.wait(lambda: self.page.last_reply() or not self.page.busy(), "the first words")
            self.page.type(Keys.ESCAPE)
            self.page.done()
            if "Stopped." in self.page.all(".assistant")[-1].text:
                break
        else:
            self.fail("no reply could be stopped")
        self.server.wait_idle()

    def test_the_servers_refusal_is_shown(self):
        self.page.open_settings()
        self.page.set_field("max_tokens", "9999999")
        self.page.close_settings()
        self.page.send("hi")
        self.assertIn("the context holds 32768 tokens", self.page.problem())

    def test_without_a_chat_template(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder)
            for path in served.DEMO.iterdir():
                (model / path.name).symlink_to(path)
            tokenizer = json.loads((model / "tokenizer_config.json").read_text())
            del tokenizer["chat_template"]
            (model / "tokenizer_config.json").unlink()
            (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
            with served.Served("--model-name", "plain", "--log-format", "none", model=model) as server:
                self.page.load(server.url + "/")
                self.page.wait(lambda: self.page.find("#model").text == "plain", "the model's name")
                self.page.open_settings()
                self.page.set_field("temperature", "0")
                self.page.set_field("max_tokens", "20")
                self.page.close_settings()
                self.page.send("Tell me a story.")
                self.assertEqual(self.page.problem(), "")
                _, answer = server.post("/v1/completions", {
                    "prompt": "User: Tell me a story.\n\nAssistant:", "temperature": 0, "max_tokens": 20, "stop": "\nUser:"})
                self.assertEqual(self.page.last_reply().split(), answer["choices"][0]["text"].split())


if __name__ == "__main__":
    unittest.main()
