import io
import re

import rich.console
from transformers.utils import logging

from unspoken.progress import progress_bar, progress_line, without_library_bars


def drawn(monkeypatch, is_terminal):
    stream = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(file=stream, force_terminal=is_terminal))
    with progress_bar("rows") as outer:
        outer("answering", 1, 4)
        with progress_bar("images") as inner:
            inner("checking", 3, 3)
        outer("answering", 4, 4)
    return stream.getvalue()


def test_a_bar_within_a_bar_is_drawn_on_a_terminal(monkeypatch):
    text = drawn(monkeypatch, True)
    assert "checking" in text
    assert "3/3" in text
    assert "4/4" in text


def test_on_a_narrow_terminal_the_bar_gives_way_and_not_the_count(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    stream, real = io.StringIO(), rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(file=stream, force_terminal=True))
    with progress_bar("updates") as advance:
        advance("hops coconut", 1032, 12000)
    assert "1032/12000 updates" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_the_bars_of_the_library_are_back_afterwards():
    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        with without_library_bars():
            assert not logging.is_progress_bar_enabled()
            with without_library_bars():
                pass
            assert not logging.is_progress_bar_enabled()
        assert logging.is_progress_bar_enabled()
    finally:
        if not shown:
            logging.disable_progress_bar()


def test_a_line_is_for_the_first_process_and_for_no_terminal(monkeypatch, capsys):
    progress_line("hops: step", 3, 9, {"loss": "0.1"})
    monkeypatch.setenv("RANK", "1")
    progress_line("hops: step", 4, 9, {})
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    progress_line("hops: step", 5, 9, {})
    assert capsys.readouterr() == ("", "unspoken: hops: step 3/9, loss 0.1\n")


def test_nothing_is_drawn_elsewhere(monkeypatch):
    assert drawn(monkeypatch, False).strip() == ""


def test_of_several_processes_only_the_first_draws(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert drawn(monkeypatch, True).strip() == ""
