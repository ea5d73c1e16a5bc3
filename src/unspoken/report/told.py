"""A story as the page shows it: its frames side by side, what was written for it, and which facts of that are right."""

import re
from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

from unspoken.report.captioned import Story, Version
from unspoken.report.svg import printable
from unspoken.vision.thumbnail import SIDE

WIDE = 1.3
"""Width over height from which a frame is wide."""
MARKS = {"right": "✓", "wrong": "✗", "missing": "\u2013"}


def frame(thumbnail: str, alt: str, shape: tuple[int, int]) -> Markup:
    """The image of a frame, as wide as there is room.

    Args:
        thumbnail: A small copy, as a data URI.
        alt: What it is, in words.
        shape: Width and height of the image.
    """
    width, height = shape
    kind = "frame-image coarse" if max(shape) <= SIDE else "frame-image"
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"><image width="{}" height="{}" href="{}"/></svg>'
    ).format(kind, width, height, printable(alt), width, height, thumbnail)


def is_wide(shapes: Iterable[tuple[int, int]]) -> bool:
    """Whether frames of these widths and heights are given as much room as there is."""
    return all(width > WIDE * height for width, height in shapes)


def judged(story: Story, version: Version) -> dict[str, str]:
    """For each fact of the reference whether a caption says it: right, wrong or missing."""
    return {
        name: "missing" if name not in version.facts else "right" if version.facts[name] == value else "wrong"
        for name, value in story.facts.items()
    }


def marked(text: str, facts: Mapping[str, str], verdicts: Mapping[str, str]) -> Markup:
    """A text in which the words of each fact are marked.

    Args:
        text: The text.
        facts: What it says, by the name of each fact.
        verdicts: What becomes of each: a class of the page's style sheet.
    """
    by_words = {" ".join(value.lower().split()): name for name, value in facts.items() if value.strip()}
    if not by_words:
        return escape(text)
    # the longer first: one may be a part of another
    longest = sorted(by_words, key=len, reverse=True)
    wanted = re.compile(
        r"\b(?:" + "|".join(r"\s+".join(map(re.escape, words.split())) for words in longest) + r")\b", re.I
    )
    parts, end = [], 0
    for match in wanted.finditer(text):
        name = by_words.get(" ".join(match[0].lower().split()), "")
        parts.append(escape(text[end : match.start()]))
        parts.append(
            Markup('<span class="fact {}" title="{}">{}</span>').format(verdicts.get(name, "missing"), name, match[0])
        )
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])
