"""A headless Chromium for tests of the chat page, or exit code 77 (skipped) with a line that says what is missing."""
import json
import os
import shutil
import sys
import time

SKIP = 77
DEBIAN_PYTHON = "/usr/bin/python3"


def skip(why):
    print(f"skipped: {why} (scripts/setup.sh --web installs it)", flush=True)
    sys.exit(SKIP)


try:
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    # Debian's python3-selenium belongs to Debian's Python, which need not be the first in PATH.
    if os.path.realpath(sys.executable) != os.path.realpath(DEBIAN_PYTHON) and os.path.exists(DEBIAN_PYTHON):
        os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, *sys.argv])
    skip("no package selenium for Python")

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    skip("no chromium or no chromedriver")

PATIENCE = 20  # seconds; reached only when something is broken


class Page:
    """The browser with one tab, and short names for what the tests do with the page."""

    def __init__(self):
        options = Options()
        options.binary_location = CHROMIUM
        # Root has no sandbox; names of other hosts are not even looked up.
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,800",
                     "--disable-background-networking", "--disable-component-update", "--no-first-run",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)

    def quit(self):
        self.driver.quit()

    def load(self, url, fresh=True):
        """The page at `url`; `fresh`: with nothing stored."""
        self.size(1200, 800)
        self.driver.get(url)
        if fresh:
            self.js("localStorage.clear(); sessionStorage.clear()")
            self.driver.get(url)
            self.drain_logs()
            self.driver.get(url)

    def size(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def media(self, **features):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]})

    def drain_logs(self):
        return self.driver.get_log("performance"), self.driver.get_log("browser")

    def requested(self):
        """Addresses of all requests since the last look."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """What the console holds, but for the HTTP errors that a test asks for."""
        return [e["message"] for e in self.driver.get_log("browser") if "Failed to load resource" not in e["message"]]

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition, what):
        """Until condition() is true; its value."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                value = condition()
            except StaleElementReferenceException:
                value = None
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"waited {PATIENCE} s for: {what}; the page says: {self.find('main').text!r}")
            time.sleep(0.02)

    def type(self, *keys):
        """To whatever has the focus, as a keyboard does."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def chord(self, modifier, key):
        webdriver.ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def focused(self):
        return self.js("return document.activeElement.id || document.activeElement.className")

    def busy(self):
        return self.find("#stop").is_displayed()

    def done(self):
        self.wait(lambda: not self.busy(), "the end of the reply")

    def send(self, text, wait=True):
        self.js("document.getElementById('input').focus()")
        self.type(text, Keys.ENTER)
        if wait:
            self.done()

    def replies(self):
        return [node.text for node in self.all(".assistant .body")]

    def last_reply(self):
        return self.replies()[-1]

    def problem(self):
        found = self.all("#messages .problem")
        return found[-1].text if found else ""

    def set_field(self, name, value):
        """A field of the settings, which must be open."""
        field = self.find(f"#{name}")
        field.clear()
        field.send_keys(value, Keys.TAB)

    def open_settings(self):
        self.find("#open-settings").click()
        self.wait(lambda: self.find("#settings").is_displayed(), "the settings")

    def close_settings(self):
        self.find("#settings .main").click()
        self.wait(lambda: not self.find("#settings").is_displayed(), "the settings to go")


def luminance(rgb):
    parts = [c / 255 for c in rgb]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, two):
    """WCAG's contrast ratio of two colours."""
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)
