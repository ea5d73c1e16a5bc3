import io

import rich.console

from unspoken.progress import progress_bar


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


def test_nothing_is_drawn_elsewhere(monkeypatch):
    assert drawn(monkeypatch, False).strip() == ""


def test_of_several_processes_only_the_first_draws(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert drawn(monkeypatch, True).strip() == ""
