"""The README and the other pages at the top: commands that exist, a file map that is complete, code that runs."""

import argparse
import io
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.docs.markdown import PAGES, README, ROOT, TOP, blocks, commands, first_column, section

from unspoken.cli.verbs import VERBS
from unspoken.recipe import load_recipe

PACKAGE = ROOT / "src" / "unspoken"
OTHER_PROGRAMS = {"git", "python", "python3", "pip", "pytest"}
COMMANDS = [
    pytest.param(command, id=f"{page.stem}-{command.line}-{' '.join(command.words)[:40]}")
    for page in [*TOP, *PAGES]
    for command in commands(page)
]


def verb_arguments(words):
    """The words after `unspoken`, whatever starts it; None when the command is another one."""
    if words[0] == "unspoken":
        return words[1:]
    if words[0] in ("torchrun", "accelerate"):
        return words[words.index("unspoken") + 1 :]
    return None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_exists(command):
    words = command.words
    arguments = verb_arguments(words)
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif arguments is None:
        assert Path(words[0]).name in OTHER_PROGRAMS
        if words[0] == "pytest":
            assert all((ROOT / word).exists() for word in words[1:] if not word.startswith("-"))
    elif arguments[0] not in ("--help", "--version"):
        two_words = " ".join(arguments[:2])
        name = two_words if two_words in VERBS else arguments[0]
        parser = argparse.ArgumentParser(exit_on_error=False)
        VERBS[name].configure(parser)
        parsed = parser.parse_intermixed_args(arguments[len(name.split()) :])
        if name in ("plan", "train") and "/" in parsed.recipe and "error:" not in (command.output or ""):
            load_recipe(parsed.recipe, parsed.overrides)


def test_every_verb_is_in_the_table_and_no_other():
    names = []
    for row in first_column(section(README, "## Verbs")):
        verb, kinds = re.match(r"unspoken (\w+)(?: ([a-z\\|]+))?", row).groups()
        names += [f"{verb} {kind}" for kind in kinds.split("\\|")] if verb == "data" else [verb]
    assert names == list(VERBS)


def test_the_file_map_is_the_tree():
    entries = [
        path for path in PACKAGE.iterdir() if path.name != "__pycache__" and (path.is_dir() or path.suffix == ".py")
    ]
    listed = first_column(section(README, "## What is where"))
    assert sorted(listed) == sorted(f"{path.name}/" if path.is_dir() else path.name for path in entries)


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    text = "".join(re.split(r"^`{3,}.*?^`{3,}$", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    for name in re.findall(r"`((?:tests|src|docs|recipes)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"
    for name in re.findall(r"`((?:hops|prosqa|prontoqa|gsm8k|multiplication)/\w+)`", text):
        assert (ROOT / "recipes" / f"{name}.yaml").exists(), f"{page.name}: {name}"


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(README) if block.language == "python"]
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        exec(compile(block.text, "README.md", "exec"), {})
    assert printed.getvalue()
    shutil.rmtree(tmp_path / "runs")


@pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: page.stem)
def test_no_line_ends_in_white_space_and_no_word_is_left_to_do(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"[ \t]+$", text, flags=re.MULTILINE)
    assert not re.search(r"TODO|FIXME|XXX|lorem", text)
