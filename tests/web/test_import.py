#!/usr/bin/env python3
"""What the chat page exported comes back into it; nothing else does, and nothing that is there is lost."""
import json
import pathlib
import tempfile
import time
import unittest

import mock_server
from browser import Keys
from page_case import PageCase


class ImportTest(PageCase):
    def imports(self, *texts):
        """What the page says to files of these texts (or bytes)."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for i, text in enumerate(texts):
                paths.append(pathlib.Path(folder) / f"file{i}.json")
                paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
            self.page.js("document.getElementById('imported').hidden = true")
            self.page.find("#files").send_keys("\n".join(map(str, paths)))
            self.page.wait(lambda: self.page.find("#imported").is_displayed(), "the end of the import")
        said = self.page.find("#imported").text
        self.assertEqual(self.page.find("#live").get_property("textContent"), said)
        return said

    def kept(self):
        """All conversations that the browser holds, by id."""
        return {c["id"]: c for c in self.page.js("""
          return Object.keys(localStorage).filter((k) => k.startsWith('bamba.chat.'))
            .map((k) => JSON.parse(localStorage.getItem(k)))""")}

    def test_what_was_exported_is_imported(self):
        self.page.send("apples")
        self.page.open_settings()
        self.page.set_field("system", "Be brief.")
        self.page.close_settings()
        self.page.find("#new").click()
        self.page.send("pears !length")
        one, everything = self.exported("export"), self.exported("export-all")
        before = self.kept()
        self.assertEqual(self.imports(everything), "0 imported, 2 here already.")
        self.assertEqual(self.kept(), before)
        self.page.find("#delete-all").click()
        self.page.find("#yes").click()
        self.assertEqual(self.imports(one, everything), "2 imported, 1 here already.")
        self.assertEqual(self.kept(), before)
        self.page.load(self.server.url, fresh=False)
        self.page.all("#chats .title")[0].click()
        self.assertEqual(self.page.find("#title").text, "pears !length")
        self.assertEqual(len(self.page.all(".stats")), 1)
        self.assertIn("Ended at the limit of tokens.", self.page.find("#messages").text)
        self.page.send("more")  # it goes on, with its history
        self.assertEqual([m["content"] for m in self.bodies()[-1]["messages"]][0], "pears !length")
        # Another text under an id that is here comes beside it, once.
        changed = json.loads(one)
        changed["messages"][0]["content"] = "plums"
        before = self.kept()
        self.assertEqual(self.imports(json.dumps(changed)), "1 imported.")
        after = self.kept()
        self.assertEqual({i: after[i] for i in before}, before)
        self.assertEqual([c["messages"][0]["content"] for i, c in after.items() if i not in before], ["plums"])
        self.assertEqual(self.imports(json.dumps([changed, changed])), "0 imported, 2 here already.")

    def test_broken_and_foreign_files_are_refused_whole(self):
        self.page.send("apples")
        good = json.loads(self.exported("export-all"))
        before = self.kept()
        other = {"id": "0123456789abcdef01234567", "system": "", "updated": 5, "messages": [{"role": "user", "content": "x"}]}

        def refused(text, *words):
            said = self.imports(text)
            self.assertIn("Nothing was imported from “file0.json”", said)
            for word in words:
                self.assertIn(word, said)
            self.assertEqual(self.page.find("#imported").get_attribute("class"), "problem")
            self.assertEqual(self.kept(), before)
            self.assertEqual(len(self.page.all("#chats .title")), 1)

        whole = json.dumps(good)
        for cut in (0, 1, len(whole) // 2, len(whole) - 1):
            refused(whole[:cut], "no JSON")
        refused(b"\xff\xfe\x00", "cannot be read")
        refused("[]", "no conversation")
        for text in ("null", "3", '"text"', "[[]]", "[null]"):
            refused(text, "conversation 1 is none")
        refused('{"messages": [{"role": "user", "content": "another program\'s"}]}', "conversation 1 has no id")
        for name, word, values in (("id", "no id", [None, 3, "", "../../etc", "0123456789ABCDEF01234567", ["0" * 24]]),
                                   ("system", "no system prompt", [None, 3, {}]),
                                   ("updated", "no time", [None, "5", -1, [5]]),
                                   ("messages", "no messages", [None, [], {}, "text"])):
            for value in values:
                refused(json.dumps([other, {**other, name: value}]), f"conversation 2 has {word}")
        for name, word, values in (("role", "is of nobody", [None, "system", ["user"]]),
                                   ("content", "has no text", [None, 3, ["x"], {"x": 1}]),
                                   ("cut", "wrong “cut”", [None, 1, "<b>"]), ("stopped", "wrong “stopped”", [[]]),
                                   ("needsKey", "wrong “needsKey”", ["yes"]), ("problem", "wrong “problem”", [{}, 1]),
                                   ("stats", "wrong “stats”", [None, 3, []]),
                                   ("stats", "wrong “stats.tokens”", [{"tokens": "9"}, {"tokens": {}}])):
            for value in values:
                broken = {**other, "messages": [*other["messages"], {"role": "assistant", "content": "y", name: value}]}
                refused(json.dumps([other, broken]), "message 2 of conversation 2", word)
        refused(json.dumps({**other, "messages": [None]}), "is of nobody")
        # One bad file among several: nothing of any of them.
        said = self.imports(json.dumps(other), "{")
        self.assertIn("“file1.json”", said)
        self.assertEqual(self.kept(), before)
        # No room: what had been stored goes again.
        self.page.js("""
          const real = Storage.prototype.setItem; let left = 1;
          Storage.prototype.setItem = function (...a) { if (!left--) throw new DOMException('', 'QuotaExceededError'); real.apply(this, a); }""")
        refused(json.dumps([other, {**other, "id": "f" * 24, "system": "different"}]), "no room")
        self.page.load(self.server.url, fresh=False)
        self.assertEqual(self.page.replies(), ["You said: apples"])

    def test_an_imported_file_becomes_no_markup(self):
        evil = mock_server.HOSTILE
        file = [{"id": "0" * 24, "system": evil, "updated": 1e300, "extra": evil, "messages": [
            {"role": "user", "content": evil, "extra": evil},
            {"role": "assistant", "content": evil, "problem": evil, "needsKey": True, "__proto__": {"pwned": 1}}]}]
        self.assertEqual(self.imports(json.dumps(file)), "1 imported.")
        self.page.find("#chats .title").click()
        time.sleep(0.2)
        self.assertIsNone(self.page.js("return window.pwned"))
        self.assertEqual(self.page.all("main img, main iframe, main script, main style, nav img, nav svg, nav script"), [])
        self.assertNotIn("extra", json.dumps(self.kept()))
        self.assertIsNone(self.page.js("return {}.pwned"))

    def test_import_by_keyboard_and_by_dropping(self):
        self.page.js("""
          window.asked = 0;
          document.getElementById('files').click = () => { ++window.asked; };
          document.getElementById('import').focus()""")
        self.page.type(Keys.ENTER)
        self.page.type(" ")
        self.assertEqual(self.page.js("return window.asked"), 2)
        chat = {"id": "a" * 24, "system": "", "updated": 1, "messages": [{"role": "user", "content": "dropped"}]}
        handled = self.page.js("""
          const data = new DataTransfer();
          data.items.add(new File([arguments[0]], 'dropped.json'));
          return ['dragover', 'drop'].map((kind) => !document.querySelector('main').dispatchEvent(
            new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })))""", json.dumps(chat))
        self.assertEqual(handled, [True, True])
        self.page.wait(lambda: self.page.find("#imported").text == "1 imported.", "the import")
        self.assertEqual([n.text for n in self.page.all("#chats .title")], ["dropped"])


if __name__ == "__main__":
    unittest.main()
