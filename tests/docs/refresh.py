"""`python -m tests.docs.refresh PAGE ...`: write what code and commands print now where a page shows something else.

What `...` stands for on the page is kept where the rest still fits. Read the difference before you keep it.
"""

import io
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.docs.markdown import SHOWN, Block, blocks, commands, fits

from unspoken.cli.main import main


def refresh(page: Path) -> None:
    """Run a page from top to bottom, and replace outputs that do not fit."""
    lines = page.read_text(encoding="utf-8").split("\n")
    os.chdir(tempfile.mkdtemp())
    names: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    replacements: list[tuple[str, str]] = []
    for block in found:
        if block.name:
            Path(block.name).write_text(f"{block.text}\n", encoding="utf-8")
    for block in found:
        if block.language == "python":
            code = compile(block.text, str(page), "exec")
            printed = _printed(lambda code=code: exec(code, names), remarks=io.StringIO())
            if block.output is not None and not fits(block.output, printed):
                replacements.append((_fence(block, block.output), _fence(block, _new(block.output, printed))))
    for command in commands(page):
        if command.output is not None and command.words[0] == "unspoken" and command.words[1] in SHOWN:
            printed = _printed(lambda command=command: main(command.words[1:]))
            if not fits(command.output, printed):
                replacements.append((command.output, _new(command.output, printed)))
    text = "\n".join(lines)
    for old, new in replacements:
        text = text.replace(old, new, 1)
    page.write_text(text, encoding="utf-8")


def _new(shown: str, printed: str) -> str:
    """What was printed, with the lines of the page that still fit because of their `...`."""
    open_lines = [line for line in shown.split("\n") if "..." in line]
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    return "\n".join(next((shown for shown in open_lines if fits(shown, line)), line) for line in lines)


def _fence(block: Block, output: str) -> str:
    return f"{block.text}\n```\n\n```text\n{output}"


def _printed(action, remarks: io.StringIO | None = None) -> str:
    """What is written to stdout; and to stderr, unless that has a place of its own."""
    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream if remarks is None else remarks):
        action()
    return stream.getvalue()


if __name__ == "__main__":
    for name in [Path(argument).resolve() for argument in sys.argv[1:]]:
        refresh(name)
