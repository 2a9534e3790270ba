#!/usr/bin/env python3
"""The chat page in a real browser against a mock of the server: every state that a reply can come to."""
import json
import pathlib
import subprocess
import sys
import time
import unittest

import browser
import mock_server
from browser import By, Keys
from page_case import PageCase

ROOT = pathlib.Path(__file__).resolve().parents[2]


class PageTest(PageCase):
    # ---- Replies

    def test_a_reply_streams_and_shows_its_figures(self):
        self.page.send("Hello !slow", wait=False)
        self.page.wait(lambda: "word" in self.page.last_reply(), "the first word")
        early = len(self.page.last_reply())
        self.assertTrue(self.page.busy())
        self.assertEqual(self.page.find(".assistant .body").get_attribute("aria-busy"), "true")
        self.page.wait(lambda: len(self.page.last_reply()) > early, "more words")
        self.page.find("#stop").click()
        self.page.done()
        self.page.send("Hello there")
        self.assertEqual(self.page.last_reply(), "You said: Hello there")
        stats = self.page.all(".stats")[-1].text
        self.assertIn("4 tokens", stats)
        self.assertIn("123.4 tokens/s", stats)
        self.assertIn("40 of 50 prompt tokens cached", stats)
        self.assertRegex(stats, r"first after \d+\.\d\d s")
        body = self.bodies()[-1]
        self.assertEqual(body["model"], "mock-model")
        self.assertTrue(body["stream"])
        self.assertEqual(body["stream_options"], {"include_usage": True})
        self.assertEqual([m["role"] for m in body["messages"]], ["user", "assistant", "user"])

    def test_stop_keeps_the_text_and_ends_the_request(self):
        self.page.send("!slow", wait=False)
        self.page.wait(lambda: "word" in self.page.last_reply(), "the first word")
        self.page.find("#stop").click()
        self.page.done()
        text = self.page.last_reply()
        self.assertIn("word", text)
        self.assertLess(len(text), 900)
        self.assertIn("Stopped.", self.page.find(".assistant").text)
        self.page.wait(lambda: self.mock.aborted == 1, "the server to see the end of the connection")

    def test_retry_replaces_the_reply(self):
        self.page.send("one")
        self.page.find(".retry").click()
        self.page.done()
        self.assertEqual(self.page.replies(), ["You said: one"])
        self.assertEqual(len(self.bodies()), 2)
        self.assertEqual(self.bodies()[0]["messages"], self.bodies()[1]["messages"])

    def test_edit_replaces_the_last_message(self):
        self.page.send("first")
        self.page.send("secnd")
        self.assertEqual(len(self.page.all(".edit")), 1)
        self.page.find(".edit").click()
        self.assertEqual(self.page.find("#input").get_attribute("value"), "secnd")
        self.page.chord(Keys.CONTROL, "a")
        self.page.type("second", Keys.ENTER)
        self.page.done()
        self.assertEqual(self.page.replies(), ["You said: first", "You said: second"])
        self.assertEqual([m["content"] for m in self.bodies()[-1]["messages"]], ["first", "You said: first", "second"])
        # Escape leaves the message as it was.
        self.page.find(".edit").click()
        self.page.type(" or not", Keys.ESCAPE)
        self.assertEqual(self.page.find("#input").get_attribute("value"), "")
        self.page.send("third")
        self.assertEqual(len(self.page.replies()), 3)

    def test_the_limit_of_tokens_is_said(self):
        self.page.send("!length")
        self.assertIn("Ended at the limit of tokens.", self.page.find(".assistant").text)

    def test_events_cut_anywhere(self):
        self.page.send("!split")
        self.assertEqual(self.page.last_reply(), "Grüße, 世界 🙂 done")

    def test_without_a_chat_template_it_writes_a_transcript(self):
        self.mock.template = False
        self.page.open_settings()
        self.page.set_field("system", "Be brief.")
        self.page.close_settings()
        self.page.send("one")
        self.assertEqual(self.page.last_reply(), "You said: one\nAssistant:")
        path, body, _ = self.mock.requests[-1]
        self.assertEqual(path, "/v1/completions")
        self.assertEqual(body["prompt"], "Be brief.\n\nUser: one\n\nAssistant:")
        self.assertEqual(body["stop"], ["\nUser:"])
        self.page.send("two")
        self.assertEqual([p for p, _, _ in self.mock.requests],
                         ["/v1/chat/completions", "/v1/completions", "/v1/completions"])

    # ---- Errors

    def test_a_key_is_asked_for_and_forgotten_with_the_tab(self):
        self.mock.key = "secret"
        self.page.load(self.server.url)
        self.page.wait(lambda: "asks for an API key" in self.page.find("#banner").text, "the banner")
        self.page.send("hi")
        self.assertIn("asks for an API key", self.page.problem())
        self.page.find("#messages .problem button").click()
        self.assertEqual(self.page.focused(), "key")
        self.page.set_field("key", "wrong")
        self.page.close_settings()
        self.page.find(".retry").click()
        self.page.wait(lambda: "does not accept" in self.page.problem(), "the wrong key's refusal")
        self.page.open_settings()
        self.page.set_field("key", "secret")
        self.page.close_settings()
        self.page.wait(lambda: not self.page.find("#banner").is_displayed(), "the banner to go")
        self.page.find(".retry").click()
        self.page.wait(lambda: self.page.replies() == ["You said: hi"], "the reply")
        self.assertNotIn("secret", self.page.js("return JSON.stringify(localStorage)"))
        self.assertIn("secret", self.page.js("return JSON.stringify(sessionStorage)"))
        self.assertEqual(self.page.find("#key").get_attribute("type"), "password")

    def test_a_busy_server_is_asked_again(self):
        self.page.send("!busy", wait=False)
        self.page.wait(lambda: "Trying again" in self.page.find("#messages").text, "the note")
        self.page.done()
        self.assertEqual(self.page.last_reply(), "You said: !busy")
        self.assertEqual(self.mock.counts["busy"], 2)
        self.page.send("!always", wait=False)
        self.page.wait(lambda: "Trying again" in self.page.find("#messages").text, "the note")
        self.page.type(Keys.ESCAPE)
        self.page.done()
        self.assertIn("Stopped.", self.page.all(".assistant")[-1].text)

    def test_a_refusal_shows_the_servers_words(self):
        self.page.send("!teapot")
        self.assertIn("HTTP 500", self.page.problem())
        self.assertIn("the kettle is cold", self.page.problem())
        self.page.find(".retry").click()
        self.page.done()
        self.assertEqual(self.mock.counts["teapot"], 2)
        # A reply without text is no part of the conversation.
        self.page.send("go on")
        self.assertEqual([m["role"] for m in self.bodies()[-1]["messages"]], ["user", "user"])

    def test_a_broken_stream_keeps_what_came(self):
        for name, words in (("!cut", "connection was lost"), ("!broken", "the model went away"), ("!garbage", "no reply")):
            with self.subTest(name):
                self.page.send(name)
                self.assertEqual(self.page.last_reply(), "You said:")
                self.assertIn(words, self.page.problem())
                self.assertTrue(self.page.find(".retry").is_displayed())

    def test_a_server_that_loads_its_model(self):
        self.mock.loading = 2
        self.page.load(self.server.url, fresh=False)
        self.page.wait(lambda: "not ready" in self.page.find("#banner").text, "the banner")
        self.page.wait(lambda: self.page.find("#model").text == "mock-model", "the model's name")
        self.assertFalse(self.page.find("#banner").is_displayed())

    def test_no_server(self):
        self.server.stop()
        self.page.send("hi")
        self.assertIn("cannot be reached", self.page.problem())

    # ---- Hostile text

    def test_text_never_becomes_markup(self):
        self.page.send("<img src=x onerror='window.pwned=9'> !hostile")
        self.assertIsNone(self.page.js("return window.pwned ?? null"))
        self.assertEqual(self.page.all("#messages img, #messages script, #messages svg, #messages iframe, #messages a"), [])
        self.assertIn("<script>window.pwned = 1</script>", self.page.last_reply())
        self.assertIn("<img src=x onerror='window.pwned=9'>", self.page.find(".user .body").text)
        self.assertIn("<img", self.page.find("#chats .title").text)
        self.page.load(self.server.url, fresh=False)
        self.assertIn("<script>window.pwned = 1</script>", self.page.last_reply())
        self.assertIsNone(self.page.js("return window.pwned ?? null"))

    def test_hostile_storage(self):
        self.page.js("""
          localStorage.setItem('bamba.chat.x', 'no json'); localStorage.setItem('bamba.sampling', '{"temperature":"<b>"}');
          localStorage.setItem('bamba.chat.' + '0'.repeat(24), '{"id":"1","messages":3}');
          localStorage.setItem('bamba.theme', '[1]');""")
        self.page.load(self.server.url, fresh=False)
        self.page.send("still here")
        self.assertEqual(self.page.last_reply(), "You said: still here")
        self.assertNotIn("temperature", self.bodies()[-1])

    def test_the_policy_stops_what_is_not_the_pages_own(self):
        blocked = self.page.js("""
          const script = document.createElement('script');
          script.textContent = 'window.pwned = 1';
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<img src="x" onerror="window.pwned = 2">');
          return window.pwned === undefined""")
        self.assertTrue(blocked)
        self.page.wait(lambda: len(self.complaint_texts()) >= 2, "the policy's reports")

    def complaint_texts(self):
        self.seen = getattr(self, "seen", []) + self.page.complaints()
        return [text for text in self.seen if "Content Security Policy" in text]

    def test_hashes_in_the_policy_are_right(self):
        subprocess.run([sys.executable, ROOT / "tools" / "web_csp.py", "--check"], check=True)
        self.assertLess(mock_server.PAGE.stat().st_size, 60_000)

    def test_markdown(self):
        self.page.send("!markdown")
        body = self.page.find(".assistant .body")
        self.assertEqual(body.find_element(By.CSS_SELECTOR, "h3").text, "A heading")
        self.assertEqual([n.text for n in body.find_elements(By.TAG_NAME, "strong")], ["bold"])
        self.assertEqual([n.text for n in body.find_elements(By.TAG_NAME, "em")], ["italic"])
        self.assertEqual(body.find_element(By.CSS_SELECTOR, "p code").text, "code <b>")
        self.assertEqual(len(body.find_elements(By.CSS_SELECTOR, "ul > li")), 4)
        self.assertEqual(body.find_element(By.CSS_SELECTOR, "ul ul > li").text, "deeper")
        self.assertEqual(body.find_element(By.CSS_SELECTOR, "ol").get_attribute("start"), "3")
        self.assertEqual(body.find_element(By.CSS_SELECTOR, "pre code").get_property("textContent"),
                         'print("<hi>")  # **not bold**\n\nx = 1')
        self.assertIn("The end: 2 * 3 * 4 and snake_case, **open.", body.text)

    def test_markdown_takes_time_in_proportion(self):
        # Marks that never close, where a careless parser goes over the rest of the text for each.
        seconds = self.page.js("""
          const began = performance.now();
          for (const text of ['**a '.repeat(50000), '`a``b'.repeat(30000), '*a '.repeat(50000), '- '.repeat(50000),
                              ('  '.repeat(20) + '- x\\n').repeat(3000), '```\\n'.repeat(3001), '> # '.repeat(40000)])
            markdown(document.createElement('div'), text);
          return (performance.now() - began) / 1000""")
        self.assertLess(seconds, 5)  # takes half a second; quadratic ones take minutes

    # ---- What is kept

    def test_conversations_are_kept_chosen_exported_and_deleted(self):
        self.page.send("apples")
        self.page.find("#new").click()
        self.page.send("pears")
        self.page.load(self.server.url, fresh=False)
        self.assertEqual(self.page.replies(), ["You said: pears"])
        titles = lambda: [n.text for n in self.page.all("#chats .title")]
        self.assertEqual(titles(), ["pears", "apples"])
        self.page.all("#chats .title")[1].click()
        self.assertEqual(self.page.replies(), ["You said: apples"])
        exported = json.loads(self.exported("export-all"))
        self.assertEqual([[m["content"] for m in c["messages"]] for c in exported],
                         [["pears", "You said: pears"], ["apples", "You said: apples"]])
        self.page.find("#chats [aria-label='Delete “pears”']").click()
        self.page.find("#no").click()
        self.assertEqual(titles(), ["pears", "apples"])
        self.page.find("#chats [aria-label='Delete “pears”']").click()
        self.page.find("#yes").click()
        self.assertEqual(titles(), ["apples"])
        self.page.find("#delete-all").click()
        self.page.find("#yes").click()
        self.assertEqual(titles(), [])
        self.assertNotIn("apples", self.page.js("return JSON.stringify(localStorage)"))
        self.page.load(self.server.url, fresh=False)
        self.assertEqual(self.page.replies(), [])

    def test_a_reload_in_mid_reply_keeps_the_text(self):
        self.page.send("!slow", wait=False)
        self.page.wait(lambda: self.page.last_reply().count("word") > 3, "some words")
        self.page.load(self.server.url, fresh=False)
        self.assertIn("word word", self.page.last_reply())
        self.assertTrue(self.page.find(".retry").is_displayed())

    def test_two_conversations_at_once(self):
        self.page.send("one !slow", wait=False)
        self.page.wait(lambda: "word" in self.page.last_reply(), "the first word")
        self.page.find("#new").click()
        self.page.send("two")
        self.assertEqual(self.page.replies(), ["You said: two"])
        self.page.all("#chats .title")[[n.text for n in self.page.all("#chats .title")].index("one !slow")].click()
        self.assertTrue(self.page.busy())
        before = len(self.page.last_reply())
        self.page.wait(lambda: len(self.page.last_reply()) > before, "the other reply to go on")
        self.page.find("#stop").click()
        self.page.done()
        ids = {headers["X-Session-Id"] for _, _, headers in self.mock.requests}
        self.assertEqual(len(ids), 2)

    def test_full_storage_is_said(self):
        self.page.js("Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }")
        self.page.send("hi")
        self.assertEqual(self.page.last_reply(), "You said: hi")
        self.assertIn("no room", self.page.find("#banner").text)

    # ---- Settings

    def test_settings_reach_the_server(self):
        self.page.open_settings()
        values = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 99, "seed": 0,
                  "presence_penalty": -0.5, "frequency_penalty": 0.25, "repetition_penalty": 1.1}
        for name, value in values.items():
            self.page.set_field(name, str(value))
        self.page.set_field("system", "You are <b>brief</b>.")
        self.page.close_settings()
        self.page.send("hi")
        body = self.bodies()[-1]
        for name, value in values.items():
            self.assertEqual(body[name], value)
        self.assertEqual(body["messages"][0], {"role": "system", "content": "You are <b>brief</b>."})
        self.page.load(self.server.url, fresh=False)
        self.page.open_settings()
        self.assertEqual(self.page.find("#top_k").get_attribute("value"), "40")
        self.assertEqual(self.page.find("#system").get_attribute("value"), "You are <b>brief</b>.")
        self.page.find("#reset").click()
        self.page.close_settings()
        self.page.send("again")
        self.assertFalse(set(values) & set(self.bodies()[-1]))
        # The system prompt belongs to its conversation.
        self.page.find("#new").click()
        self.page.send("other")
        self.assertEqual(self.bodies()[-1]["messages"], [{"role": "user", "content": "other"}])

    def test_a_value_out_of_range_is_not_taken(self):
        self.page.open_settings()
        self.page.set_field("temperature", "7")
        self.assertTrue(self.page.js("return document.getElementById('temperature').matches(':invalid')"))
        self.page.find("#temperature").send_keys(Keys.ESCAPE)
        self.page.wait(lambda: not self.page.find("#settings").is_displayed(), "the settings to go")
        self.page.send("hi")
        self.assertNotIn("temperature", self.bodies()[-1])

    def test_a_model_can_be_chosen(self):
        self.mock.models = ["first", "second"]
        self.page.load(self.server.url)
        self.page.wait(lambda: self.page.find("#model").text == "first", "the models")
        self.page.open_settings()
        self.page.find("#pick option[value=second]").click()
        self.page.close_settings()
        self.page.send("hi")
        self.assertEqual(self.bodies()[-1]["model"], "second")

    # ---- Looks and ways of use

    def colours(self):
        """(text, fore, back) of every visible text, backgrounds looked up through the parents."""
        return self.page.js("""
          const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const rgb = (s) => s.match(/[\\d.]+/g).map(Number);
          while (walk.nextNode()) {
            const node = walk.currentNode.parentElement;
            if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest('script, style, .unseen, .skip')) continue;
            let back = null;
            for (let n = node; n && !back; n = n.parentElement) {
              const c = rgb(getComputedStyle(n).backgroundColor);
              if (c.length === 3 || c[3] === 1) back = c.slice(0, 3);
            }
            out.push([walk.currentNode.data.trim().slice(0, 40), rgb(getComputedStyle(node).color).slice(0, 3), back]);
          }
          return out""")

    def test_contrast_and_themes(self):
        self.page.send("!markdown")
        self.page.send("!teapot")
        backs = {}
        for scheme in ("light", "dark"):
            self.page.media(prefers_color_scheme=scheme)
            backs[scheme] = self.page.js("return getComputedStyle(document.body).backgroundColor")
            for opened in (False, True):
                if opened:
                    self.page.open_settings()
                for text, fore, back in self.colours():
                    self.assertGreaterEqual(browser.contrast(fore, back), 4.5, f"{scheme}: {text!r} {fore} on {back}")
                if opened:
                    self.page.close_settings()
        self.assertNotEqual(backs["light"], backs["dark"])
        # The button overrules the system, in turn auto, light, dark, and is remembered.
        shown = lambda: self.page.js("return getComputedStyle(document.body).backgroundColor")
        self.page.find("#theme").click()
        self.assertEqual(shown(), backs["light"])
        self.page.media(prefers_color_scheme="light")
        self.page.find("#theme").click()
        self.assertEqual(shown(), backs["dark"])
        self.page.load(self.server.url, fresh=False)
        self.assertEqual(shown(), backs["dark"])
        self.assertEqual(self.page.find("#theme").get_attribute("aria-label"), "Colours: dark. Change to auto")

    def test_a_small_phone(self):
        self.page.size(320, 560)
        self.page.send("!markdown " + "x" * 300)
        width = "return [document.documentElement.scrollWidth, document.getElementById('scroll').scrollWidth]"
        self.assertEqual(self.page.js(width), [320, 320])
        for selector in ("#open-chats", "#new", "#theme", "#open-settings", "#input", "#send"):
            box = self.page.find(selector).rect
            self.assertGreaterEqual(box["x"], 0, selector)
            self.assertLessEqual(box["x"] + box["width"], 320, selector)
            self.assertLessEqual(box["y"] + box["height"], 560, selector)
            self.assertGreaterEqual(box["height"], 38, selector)
        self.assertFalse(self.page.find("#side").is_displayed())
        self.page.find("#open-chats").click()
        self.assertTrue(self.page.find("#side").is_displayed())
        self.assertEqual(self.page.js(width), [320, 320])
        self.assertEqual(self.page.focused(), "close-chats")
        self.page.type(Keys.ESCAPE)
        self.assertFalse(self.page.find("#side").is_displayed())
        self.assertEqual(self.page.focused(), "open-chats")
        self.page.open_settings()
        self.assertEqual(self.page.js("const d = document.getElementById('settings'); return d.scrollWidth - d.clientWidth"), 0)
        self.assertGreaterEqual(self.page.js("return parseFloat(getComputedStyle(document.getElementById('key')).fontSize)"), 16)
        self.page.close_settings()

    def test_keyboard_only(self):
        self.assertEqual(self.page.focused(), "input")
        self.page.type("one")
        self.page.chord(Keys.SHIFT, Keys.ENTER)
        self.page.type("two", Keys.ENTER)
        self.page.done()
        self.assertEqual(self.bodies()[-1]["messages"][-1]["content"], "one\ntwo")
        self.page.type("!slow", Keys.ENTER)
        self.page.wait(lambda: "word" in self.page.last_reply(), "the first word")
        self.page.type(Keys.ESCAPE)
        self.page.done()
        self.assertEqual(self.page.focused(), "input")
        # From the top of the page with Tab: everything in reading order, each with a visible ring.
        self.page.js("document.activeElement.blur(); window.getSelection().removeAllRanges()")
        self.page.load(self.server.url, fresh=False)
        self.page.js("document.body.tabIndex = -1; document.body.focus()")
        order, rings = [], []
        for _ in range(30):
            self.page.type(Keys.TAB)
            order.append(self.page.js("const a = document.activeElement; return a.id || a.className || a.textContent"))
            rings.append(self.page.js("return getComputedStyle(document.activeElement).outlineStyle"))
            if order[-1] == "send":
                break
        self.assertEqual(order[:5], ["skip", "new", "theme", "open-settings", "title"])
        self.assertEqual(order[-2:], ["input", "send"])
        self.assertLess(order.index("delete-all"), order.index("small plain edit"))
        self.assertEqual(set(rings), {"solid"})

    def test_a_screen_reader_hears_whole_replies(self):
        self.page.js("""
          window.heard = [];
          new MutationObserver(() => window.heard.push(document.getElementById('live').textContent))
            .observe(document.getElementById('live'), { childList: true, characterData: true, subtree: true });""")
        self.page.send("a b c d e f g")
        self.assertEqual(self.page.js("return window.heard"), ["Waiting for the reply.", "Reply: You said: a b c d e f g"])
        self.assertEqual(self.page.all("#messages[aria-live], main[aria-live]"), [])
        unnamed = self.page.js("""
          return [...document.querySelectorAll('button, input, select, textarea')].filter((n) =>
            !(n.textContent.trim() || n.getAttribute('aria-label') || n.labels?.length) && !n.closest('[hidden]')).map((n) => n.outerHTML)""")
        self.assertEqual(unnamed, [])

    def test_reduced_motion(self):
        self.page.media(prefers_reduced_motion="reduce")
        self.page.send("!always", wait=False)
        self.page.wait(lambda: self.page.all(".dots i"), "the dots")
        self.assertEqual(self.page.js("return getComputedStyle(document.querySelector('.dots i')).animationName"), "none")
        self.page.find("#stop").click()
        self.page.done()

    def test_the_end_stays_in_view_unless_one_reads_above(self):
        gap = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
        self.page.send("!long")
        self.assertLess(self.page.js(gap), 5)
        self.assertFalse(self.page.find("#latest").is_displayed())
        self.page.send("!slow", wait=False)
        self.page.wait(lambda: "word" in self.page.last_reply(), "the first word")
        self.page.js("document.getElementById('scroll').scrollTop = 100")
        self.page.wait(lambda: self.page.find("#latest").is_displayed(), "the button")
        time.sleep(0.3)
        self.assertEqual(self.page.js("return document.getElementById('scroll').scrollTop"), 100)
        self.page.find("#latest").click()
        self.assertLess(self.page.js(gap), 60)
        self.page.find("#stop").click()
        self.page.done()

    def test_no_request_leaves_the_origin(self):
        self.page.driver.get_log("performance")
        self.page.load(self.server.url, fresh=False)
        self.page.send("!hostile")
        self.page.send("!markdown")
        self.page.open_settings()
        self.page.close_settings()
        urls = [url for url in self.page.requested() if not url.startswith("data:")]
        self.assertIn(self.server.url + "v1/chat/completions", urls)
        self.assertEqual([url for url in urls if not url.startswith(self.server.url)], [])


if __name__ == "__main__":
    unittest.main()
