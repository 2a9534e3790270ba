"""The template language that every text of the corpus is written in.

``[a|b|c]``  one of the alternatives, which may nest or be empty
``{name}``   a variable; ``{Name}`` is the same variable with a capital
``@a word``  "a" or "an", decided by the word that follows in the finished text

Sentences get their capital letter by themselves, at the start of a paragraph and after a full stop; inside quotation
marks the template writes it.
"""

import functools
import re

_VOWEL_SOUND = re.compile(r"^(?:[aeio]|u(?!ni|se|ti|ku|sua)|hour|honest|heir)", re.I)
_NO_VOWEL_SOUND = re.compile(r"^(?:one\b|once\b|eu|ewe)", re.I)
_ARTICLE = re.compile(r"@([aA]) (\W*)(\w+)")
_START = re.compile(r"(^|[.!?:]\n+|\n\n|[.!?] |[.]\" )([a-z])")
_SPACES = re.compile(r"  +")


def article(word):
    """"a" or "an" for the word that follows."""
    return "an" if _VOWEL_SOUND.match(word) and not _NO_VOWEL_SOUND.match(word) else "a"


@functools.lru_cache(maxsize=None)
def _parse(template):
    """Turns a template into a tuple of parts: text, ("v", name) or ("c", alternatives)."""
    node, pos = _parse_sequence(template, 0, top=True)
    if pos != len(template):
        raise ValueError("unbalanced brackets in template: " + template)
    return node


def _parse_sequence(text, pos, top):
    parts, plain = [], []
    while pos < len(text):
        ch = text[pos]
        if ch in "[{":
            if plain:
                parts.append("".join(plain))
                plain = []
            if ch == "{":
                end = text.index("}", pos)
                parts.append(("v", text[pos + 1 : end]))
                pos = end + 1
                continue
            alternatives = []
            pos += 1
            while True:
                node, pos = _parse_sequence(text, pos, top=False)
                alternatives.append(node)
                if pos >= len(text):
                    raise ValueError("unclosed bracket in template: " + text)
                closing = text[pos] == "]"
                pos += 1
                if closing:
                    break
            parts.append(("c", tuple(alternatives)))
            continue
        if not top and ch in "|]":
            break
        plain.append(ch)
        pos += 1
    if plain:
        parts.append("".join(plain))
    return tuple(parts), pos


def _expand(node, rng, names, out):
    for part in node:
        if isinstance(part, str):
            out.append(part)
        elif part[0] == "c":
            _expand(part[1][int(rng.random() * len(part[1]))], rng, names, out)
        else:
            name = part[1]
            if name in names:
                value = names[name]
            else:
                value = names[name[0].lower() + name[1:]]
                if "[" not in value and "{" not in value:
                    value = value[:1].upper() + value[1:]
            if "[" in value or "{" in value:
                _expand(_parse(value), rng, names, out)
            else:
                out.append(value)


def capital(text):
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def finish(text):
    """Settles articles, spaces and the capitals at the start of sentences."""
    text = _SPACES.sub(" ", text).replace(" .", ".").replace(" ,", ",").strip()
    text = _ARTICLE.sub(
        lambda m: (article(m[3]) if m[1] == "a" else capital(article(m[3]))) + " " + m[2] + m[3], text
    )
    return _START.sub(lambda m: m[1] + m[2].upper(), text)


def render(rng, template, names=None):
    """One text that the template can produce."""
    out = []
    _expand(_parse(template), rng, names or {}, out)
    return finish("".join(out))
