"""Sentences of the page: what is code in them is set as code, and a name in them stays by itself.

A name may hold anything: a mark that sets text as code, or one that turns the direction of what follows.
"""

import re

from markupsafe import Markup, escape

BEGIN, END = "\u2068", "\u2069"
"""Unicode's marks around text whose direction is its own."""
_MARKS = re.compile("[\u2066-\u2069]")
_INSIDE = f"[^{BEGIN}{END}]*"
# a backtick within a name ends no code
_PART = re.compile(f"`(?P<code>(?:[^`{BEGIN}]|{BEGIN}{_INSIDE}{END})*)`|{BEGIN}(?P<name>{_INSIDE}){END}")


def apart(name: str) -> str:
    """A name as it may stand in a sentence: whatever is in it ends with it."""
    return BEGIN + _MARKS.sub("\ufffd", name) + END


def as_html(text: str) -> Markup:
    """The text as HTML: what stands between backticks as code, and what `apart` was given by itself."""
    parts, end = [], 0
    for found in _PART.finditer(text):
        if found["code"] is None:
            part = Markup("<bdi>{}</bdi>").format(found["name"])
        else:
            part = Markup("<code>{}</code>").format(as_html(found["code"]))
        parts += [escape(text[end : found.start()]), part]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
