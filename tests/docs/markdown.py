"""Markdown pages as the tests read them: fenced blocks, commands, links, tables."""

import doctest
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TOP = [README, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]

SHOWN = {"plan", "list", "data"}
"""Verbs that take a second: where a page shows their output, they are run and compared."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: First word behind the fence.
        name: Second word: the name of the file that the block shows.
        text: What it holds.
        line: Line of the page on which that begins.
        output: The `text` block right after it; None when there is none.
    """

    language: str
    name: str
    text: str
    line: int
    output: str | None


def blocks(page: Path) -> list[Block]:
    """Every fenced block. A `text` block with nothing but blank lines before it is the output of the one above."""
    lines = page.read_text(encoding="utf-8").split("\n")
    found, ends, index = [], [], 0
    while index < len(lines):
        opening = re.fullmatch(r"(`{3,})(\S*)(?: (.*))?", lines[index])
        if opening is None:
            index += 1
            continue
        end = next(i for i in range(index + 1, len(lines)) if lines[i] == opening[1])
        found.append((opening[2], opening[3] or "", lines[index + 1 : end], index + 2))
        ends.append((index, end))
        index = end + 1
    result = []
    for number, (language, name, text, line) in enumerate(found):
        follows = number + 1 < len(found) and not any(lines[ends[number][1] + 1 : ends[number + 1][0]])
        is_output = follows and found[number + 1][0] == "text"
        output = "\n".join(found[number + 1][2]) if is_output else None
        result.append(Block(language, name, "\n".join(text), line, output))
    return result


@dataclass(frozen=True)
class Command:
    """A shell command of a page, its words, and the output that the page shows for it (None: it shows none)."""

    words: tuple[str, ...]
    output: str | None
    line: int


def commands(page: Path) -> list[Command]:
    """The commands of `bash` blocks, one a line, and of `console` blocks, where they stand behind `$`."""
    found = []
    for block in blocks(page):
        if block.language == "bash":
            text = re.sub(r"\\\n", " ", block.text)
            found += [Command(_words(line), None, block.line) for line in text.split("\n")]
        elif block.language == "console":
            for part in re.split(r"^\$ ", re.sub(r"\\\n", " ", block.text), flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                found.append(Command(_words(line), output.rstrip("\n") or None, block.line))
    return [command for command in found if command.words]


def _words(line: str) -> tuple[str, ...]:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return tuple(words)


def links(page: Path) -> list[str]:
    """Targets of links and images to other files, outside of code."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    assert found, f"{page.name} has no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """What stands in backticks at the beginning of each row of the tables in a text."""
    return [
        name
        for row in re.findall(r"^\| (`(?:\\\||[^|])*)\|", text, flags=re.MULTILINE)
        for name in re.findall("`([^`]+)`", row)
    ]


def fits(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; `...` on the page stands for anything."""
    printed = "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    return doctest.OutputChecker().check_output(f"{shown}\n", f"{printed}\n", doctest.ELLIPSIS)
