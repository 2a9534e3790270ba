#!/usr/bin/env python3
"""OpenAI's own Python client against `bamba serve` with the demo model."""
import json
import os
import pathlib
import sys
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

try:
    import openai
except ImportError:
    # .ci/run installs it into a virtual environment.
    venv_python = pathlib.Path(os.environ.get("BAMBA_CLIENT_VENV", ROOT / "build-client")) / "bin" / "python"
    if venv_python.exists() and not os.environ.get("BAMBA_CLIENT_TRIED"):
        os.execve(venv_python, [str(venv_python), *sys.argv], {**os.environ, "BAMBA_CLIENT_TRIED": "1"})
    print("skipped: no package openai for Python (.ci/run installs it into build-client)", flush=True)
    sys.exit(77)

import served  # noqa: E402

KEY = "a-key-for-this-test"
ANIMAL = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "legs": {"type": "integer", "minimum": 0, "maximum": 8},
                   "kind": {"enum": ["fox", "crow", "fish"]}},
    "required": ["name", "legs", "kind"], "additionalProperties": False,
}


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = served.Served("--api-key", KEY, "--max-queue", "4", "--max-sequences", "4", "--log-format", "none", key=KEY)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key=KEY, max_retries=0, timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        code = cls.server.stop()
        if code != 0:  # a sanitizer's report, say
            raise AssertionError(f"the server ended with code {code}:\n{cls.server.log()[-4000:]}")

    def complete(self, prompt="Once upon a time", **options):
        return self.client.completions.create(model="demo", prompt=prompt, **{"max_tokens": 16, "temperature": 0, **options})

    def chat(self, text="Tell me a story.", **options):
        return self.client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": text}], **{"max_tokens": 16, "temperature": 0, **options})

    def test_models(self):
        models = self.client.models.list().data
        self.assertEqual([m.id for m in models], ["demo"])
        self.assertEqual(models[0].object, "model")
        self.assertEqual(self.client.models.retrieve("demo").id, "demo")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("nobody")

    def test_completion(self):
        answer = self.complete()
        self.assertEqual(answer.object, "text_completion")
        self.assertTrue(answer.choices[0].text.strip())
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 16)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 16)
        self.assertEqual(self.complete().choices[0].text, answer.choices[0].text)

    def test_the_same_prompt_as_token_ids_and_in_lists(self):
        text = self.complete().choices[0].text
        _, tokens = self.server.post("/tokenize", {"prompt": "Once upon a time"})
        self.assertEqual(self.complete(tokens["tokens"]).choices[0].text, text)
        other = self.complete("The river").choices[0].text
        both = self.complete(["Once upon a time", "The river"]).choices
        self.assertEqual([(c.index, c.text) for c in both], [(0, text), (1, other)])
        self.assertEqual([c.text for c in self.complete([tokens["tokens"], tokens["tokens"]]).choices], [text, text])

    def test_streamed_completion(self):
        whole = self.complete()
        text, usage, reasons = "", None, []
        for chunk in self.complete(stream=True, stream_options={"include_usage": True}):
            if chunk.usage:
                usage = chunk.usage
            for choice in chunk.choices:
                text += choice.text
                reasons += [choice.finish_reason] if choice.finish_reason else []
        self.assertEqual(text, whole.choices[0].text)
        self.assertEqual(reasons, ["length"])
        self.assertEqual(usage.completion_tokens, 16)

    def test_echo_and_logprobs(self):
        answer = self.complete(logprobs=3, echo=True)
        choice = answer.choices[0]
        self.assertTrue(choice.text.startswith("Once upon a time"))
        self.assertEqual(len(choice.logprobs.tokens), answer.usage.total_tokens)
        self.assertEqual(len(choice.logprobs.token_logprobs), answer.usage.total_tokens)
        self.assertTrue(all(p <= 0 for p in choice.logprobs.token_logprobs if p is not None))
        self.assertEqual("".join(choice.logprobs.tokens[-16:]), choice.text[len("Once upon a time"):])
        for token, logprob, top in list(zip(choice.logprobs.tokens, choice.logprobs.token_logprobs,
                                            choice.logprobs.top_logprobs))[-16:]:
            self.assertEqual(max(top.values()), logprob, token)  # greedy

    def test_chat(self):
        answer = self.chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content.strip())
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in self.chat(stream=True) if chunk.choices)
        self.assertEqual(streamed, answer.choices[0].message.content)

    def test_chat_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=2)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), answer.usage.completion_tokens)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual(token.top_logprobs[0].token, token.token)
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)

    def test_cached_tokens(self):
        words = "A long beginning that is read once only. " * 20
        first = self.chat(words + "One.")
        again = self.chat(words + "One.")
        self.assertEqual(again.choices[0].message.content, first.choices[0].message.content)
        self.assertGreater(again.usage.prompt_tokens_details.cached_tokens, 0)
        self.assertLess(again.usage.prompt_tokens_details.cached_tokens, again.usage.prompt_tokens)

    def test_several_choices(self):
        answer = self.complete(n=3, temperature=1, seed=5)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        self.assertGreater(len({c.text for c in answer.choices}), 1)
        self.assertEqual([c.text for c in self.complete(n=3, temperature=1, seed=5).choices], [c.text for c in answer.choices])
        self.assertNotEqual([c.text for c in self.complete(n=3, temperature=1, seed=6).choices], [c.text for c in answer.choices])
        texts = ["", "", ""]
        for chunk in self.complete(n=3, temperature=1, seed=5, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, [c.text for c in answer.choices])
        best = self.complete(n=1, best_of=3, temperature=1, seed=5)
        self.assertIn(best.choices[0].text, [c.text for c in answer.choices])

    def test_stop(self):
        whole = self.complete(max_tokens=60).choices[0].text
        word = whole.split()[6]
        answer = self.complete(max_tokens=60, stop=[word, "never seen"])
        self.assertEqual(answer.choices[0].text, whole[:whole.index(word)])
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        streamed = "".join(c.text for chunk in self.complete(max_tokens=60, stop=word, stream=True) for c in chunk.choices)
        self.assertEqual(streamed, answer.choices[0].text)

    def test_logit_bias(self):
        _, tokens = self.server.post("/tokenize", {"prompt": " river", "add_special_tokens": False})
        ids = self.complete(max_tokens=4, logit_bias={str(tokens["tokens"][0]): 100}, extra_body={"return_token_ids": True})
        self.assertEqual(ids.choices[0].token_ids, tokens["tokens"][:1] * 4)

    def test_json_schema(self):
        for seed in range(5):
            answer = self.chat("An animal, please.", max_tokens=200, temperature=1, seed=seed, response_format={
                "type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL, "strict": True}})
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            value = json.loads(answer.choices[0].message.content)
            self.assertEqual(set(value), {"name", "legs", "kind"})
            self.assertLessEqual(len(value["name"]), 12)
            self.assertIn(value["legs"], range(9))
            self.assertIn(value["kind"], ANIMAL["properties"]["kind"]["enum"])
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}})
        self.assertIn("nonsense", str(caught.exception))

    def test_json_object(self):
        answer = self.chat("An animal, please.", max_tokens=400, temperature=1, seed=3, response_format={"type": "json_object"})
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)
        else:
            self.assertTrue(answer.choices[0].message.content.lstrip().startswith("{"))

    def test_wrong_requests(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete(temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        self.assertIn("temperature", caught.exception.message)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete([1] * 40000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            self.chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.completions.create(model="nobody", prompt="a")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_wrong_key(self):
        with openai.OpenAI(base_url=self.server.url + "/v1", api_key="another", max_retries=0) as client:
            with self.assertRaises(openai.AuthenticationError) as caught:
                client.completions.create(model="demo", prompt="a")
        self.assertEqual(caught.exception.code, "invalid_api_key")
        self.assertNotIn("another", str(caught.exception))

    def test_full_queue(self):
        # Four run, four wait; the next is refused, and told when to come again.
        streams, waiting = [], []
        try:
            for _ in range(4):
                streams.append(self.complete(max_tokens=4000, temperature=1, stream=True, extra_body={"ignore_eos": True}))
                next(iter(streams[-1]))
            self.fill(waiting)
            with self.assertRaises(openai.RateLimitError) as caught:
                self.complete()
            self.assertEqual(caught.exception.code, "queue_full")
            self.assertTrue(caught.exception.response.headers["retry-after"])
        finally:
            for stream in streams:
                stream.close()
            for thread in waiting:
                thread.join()
        self.server.wait_idle()
        self.complete()

    def fill(self, waiting):
        """Four requests that wait; they are answered once the streams have been closed."""
        for _ in range(4):
            waiting.append(threading.Thread(target=self.complete, kwargs={"max_tokens": 1}))
            waiting[-1].start()
        self.server.wait(lambda: self.server.metrics()["queue_requests"] == 4, "four requests to wait")

    def test_a_client_that_leaves_frees_its_place(self):
        stream = self.complete(max_tokens=4000, temperature=1, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.server.wait_idle()


if __name__ == "__main__":
    unittest.main()
