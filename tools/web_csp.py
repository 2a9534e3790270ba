#!/usr/bin/env python3
"""Writes the hashes of the chat page's inline <style> and <script> into its Content-Security-Policy.

    tools/web_csp.py            after a change to src/server/web/index.html
    tools/web_csp.py --check    fails when the hashes in the file are not those of its contents
"""
import argparse
import base64
import hashlib
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "src" / "server" / "web" / "index.html"


def with_hashes(page):
    """The page with the hashes that belong to it."""
    for tag in ("script", "style"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        if len(bodies) != 1:
            raise SystemExit(f"web_csp: {PAGE} has {len(bodies)} <{tag}> elements; its policy is made for one")
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        page, count = re.subn(rf"{tag}-src 'sha256-[^']*'", f"{tag}-src 'sha256-{digest}'", page)
        if count != 1:
            raise SystemExit(f"web_csp: {PAGE} has {count} {tag}-src with a hash where one is needed")
    return page


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    # The browser hashes what its parser sees: with bare line feeds.
    page = PAGE.read_bytes().decode()
    if "\r" in page:
        raise SystemExit(f"web_csp: {PAGE} has carriage returns")
    right = with_hashes(page)
    if right == page:
        return
    if arguments.check:
        sys.exit(f"web_csp: the hashes in {PAGE} are not those of its contents; run tools/web_csp.py")
    PAGE.write_bytes(right.encode())


if __name__ == "__main__":
    main()
