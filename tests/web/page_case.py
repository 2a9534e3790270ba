"""What the tests of the chat page share: the page in a browser, and a mock of the server that is new for each test."""
import unittest

import browser
import mock_server


class PageCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = browser.Page()

    @classmethod
    def tearDownClass(cls):
        cls.page.quit()

    def setUp(self):
        self.server = mock_server.Server().start()
        self.mock = self.server.mock
        self.page.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
        self.page.load(self.server.url)
        self.page.wait(lambda: self.page.find("#model").text == "mock-model", "the model's name")

    def tearDown(self):
        self.server.stop()
        self.assertEqual(self.page.complaints(), [], "the console")

    def bodies(self):
        return [body for _, body, _ in self.mock.requests]

    def exported(self, button):
        return self.page.js("""
          let kept; const real = URL.createObjectURL;
          URL.createObjectURL = (blob) => { kept = blob; return real(blob); };
          document.getElementById(arguments[0]).click();
          URL.createObjectURL = real;
          return kept.text()""", button)
