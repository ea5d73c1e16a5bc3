"""Files of rows are told apart by their content, and what is wrong with a file or a row is said with its place."""

import json
import os
from pathlib import Path

import pytest

from unspoken import files
from unspoken.errors import DataError
from unspoken.tasks import read_rows as module
from unspoken.tasks.read_rows import read_rows, shown

ROW = {"question": "q", "steps": ["s"], "answer": "a"}
GOOD = json.dumps(ROW)


def write(folder: Path, content: str | bytes, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_json_list_counts_its_elements(tmp_path):
    rows = read_rows(write(tmp_path, json.dumps([ROW, {"question": "r"}], indent=2)))
    assert rows.found == ((1, ROW), (2, {"question": "r"}))
    assert rows.unreadable == ()


def test_json_lines_count_lines_even_in_a_file_called_json(tmp_path):
    assert read_rows(write(tmp_path, f"{GOOD}\n\n{GOOD}\n")).found == ((1, ROW), (3, ROW))


def test_other_content_is_lines_of_text(tmp_path):
    rows = read_rows(write(tmp_path, "1 * 2||2 #### 2\n\n [sic] 3||#### 3\n", "rows.txt"))
    assert rows.found == ((1, "1 * 2||2 #### 2"), (3, " [sic] 3||#### 3"))


def test_text_that_opens_with_a_bracket_is_no_json(tmp_path):
    assert read_rows(write(tmp_path, "[sic] two||#### 2\n{a} b||#### 3")).found == (
        (1, "[sic] two||#### 2"),
        (2, "{a} b||#### 3"),
    )


def test_byte_order_mark_and_carriage_returns_are_no_content(tmp_path):
    assert read_rows(write(tmp_path, f"\ufeff{GOOD}\r\n{GOOD}\r\n")).found == ((1, ROW), (2, ROW))
    assert read_rows(write(tmp_path, "\ufeffa||b\r\nc||d\r\n", "rows.txt")).found == ((1, "a||b"), (2, "c||d"))


def test_only_a_line_feed_ends_a_line(tmp_path):
    odd = {"question": "one\u2028two\x85three\x0cfour", "steps": [], "answer": "a"}
    assert read_rows(write(tmp_path, json.dumps(odd, ensure_ascii=False).replace("\\f", " ") + "\n" + GOOD)).found[
        1
    ] == (2, ROW)
    assert read_rows(write(tmp_path, "a\u2028b\x0cc", "rows.txt")).found == ((1, "a\u2028b\x0cc"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} has 0 rows; give a file with at least one"),
        (b" \n\r\n\t", "{path} has 0 rows; give a file with at least one"),
        (b"[]", "{path} has 0 rows; give a file with at least one"),
        (b" [ \n ] ", "{path} has 0 rows; give a file with at least one"),
        (
            f"[{GOOD},\n {GOOD[:30]}".encode(),
            "{path} is not valid JSON at line 2, column 30 (character 80), in row 2: Unterminated string starting at; "
            "no row after this place can be read, so mend the file there (it may be cut off)",
        ),
        (f"[{GOOD}".encode(), "line 1, column 50 (character 49), in row 1: a comma or ] must follow the row; no row"),
        (f"[{GOOD} {GOOD}]".encode(), "line 1, column 51 (character 50), in row 1: a comma or ] must follow the row"),
        (f"[{GOOD},]".encode(), "line 1, column 51 (character 50), in row 2: Expecting value; no row"),
        (f"[{GOOD}] and more".encode(), "line 1, column 52 (character 51), in row 1: text follows the end of the list"),
        (b"[", "line 1, column 2 (character 1), in row 1: Expecting value; no row"),
        (("[" + '{"a":' * 100_000).encode(), "in row 1: it is nested too deeply to be data; no row"),
        (
            json.dumps(ROW, indent=1).encode(),
            "{path} holds JSON objects over several lines; write a list of rows, [{{...}}, ...], or one row a line",
        ),
        (GOOD.encode("utf-16"), "{path} is not UTF-8 text (byte 0); convert it to UTF-8"),
        (b"\x1f\x8b\x08rest", "{path} is a gzip archive; unpack it first"),
        (b"PK\x03\x04rest", "{path} is a zip archive; unpack it first"),
    ],
)
def test_a_broken_file_is_refused_with_its_place_and_a_remedy(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert message.format(path=path) in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_readable_file_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "loop", tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(DataError, match=str(path)):
            read_rows(path)


MEND = "; mend it (it may be cut off)"
BAD_ROWS = [
    ('{"question": "q", "steps": ["s"], "ans', f"not valid JSON at column 35: Unterminated string starting at{MEND}"),
    ("no object at all", f"not valid JSON at column 1: Expecting value{MEND}"),
    (GOOD + GOOD, f"not valid JSON at column 49: Extra data{MEND}"),
]
BAD_ROWS_OF_GOOD_JSON = [
    ("[1, 2]", "the list [1, 2] stands for a row; write an object with question, steps and answer"),
    ("null", "null stands for a row; write an object with question, steps and answer"),
    ("3.5", "the number 3.5 stands for a row; write an object with question, steps and answer"),
    ("true", "the truth value True stands for a row; write an object with question, steps and answer"),
    ('"q"', "the text 'q' stands for a row; write an object with question, steps and answer"),
    ('{"answer": NaN}', "holds NaN, which is not JSON; write null or a number"),
    ('{"a": [-Infinity]}', "holds -Infinity, which is not JSON; write null or a number"),
    ('{"answer": 1, "b": 2, "answer": 3}', "the key 'answer' stands twice in one object; keep one of them"),
    ('{"a": {"b": 1, "b": 1}}', "the key 'b' stands twice in one object; keep one of them"),
    ('{"answer": ' + "9" * 5000 + "}", "holds an integer of 5,000 digits; write it as a text"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_ROWS + BAD_ROWS_OF_GOOD_JSON)
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path, bad, reason):
    path = write(tmp_path, f"{GOOD}\n{bad}\n\n{GOOD}")
    rows = read_rows(path)
    assert rows.found == ((1, ROW), (4, ROW))
    assert [(each.source, each.row, each.reason) for each in rows.unreadable] == [(str(path), 2, reason)]


@pytest.mark.parametrize(("bad", "reason"), BAD_ROWS_OF_GOOD_JSON)
def test_a_bad_element_is_named_and_the_others_are_read(tmp_path, bad, reason):
    path = write(tmp_path, f"[{GOOD}, {bad} ,\n{GOOD}]")
    rows = read_rows(path)
    assert rows.found == ((1, ROW), (3, ROW))
    assert [(each.source, each.row, each.reason) for each in rows.unreadable] == [(str(path), 2, reason)]


def test_a_line_nested_without_end_is_rejected_alone(tmp_path):
    rows = read_rows(write(tmp_path, f"{GOOD}\n" + '{"a":' * 100_000 + f"\n{GOOD}"))
    assert [number for number, _ in rows.found] == [1, 3]
    assert rows.unreadable[0].reason == "nested too deeply to be data; write texts and lists of texts"


def test_a_row_that_is_too_large_is_rejected_by_its_bytes(tmp_path, monkeypatch):
    assert module.MAX_ROW_BYTES == files.MAX_ROW_BYTES == 16 * 2**20
    monkeypatch.setattr(module, "MAX_ROW_BYTES", 80)
    large = json.dumps({**ROW, "question": "\u00e9" * 30}, ensure_ascii=False)
    reason = "has 107 bytes, more than the 80 of a row; split or shorten it"
    for content in (f"{GOOD}\n{large}\n{GOOD}", f"[{GOOD}, {large}, {GOOD}]"):
        rows = read_rows(write(tmp_path, content))
        assert [number for number, _ in rows.found] == [1, 3]
        assert rows.unreadable[0].reason == reason
    rows = read_rows(write(tmp_path, "short\n" + "long" * 21, "rows.txt"))
    assert rows.found == ((1, "short"),)
    assert rows.unreadable[0].reason == "has 84 bytes, more than the 80 of a row; split or shorten it"


def test_values_are_shown_short_and_with_nothing_a_terminal_would_act_on():
    assert shown("\x1b[31m\u202e\ud800\0") == r"the text '\x1b[31m\u202e\ud800\x00'"
    assert len(shown("long" * 1_000_000)) < 80
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "the list [[[...]]]"
    assert shown({"a": [1, 2, 3, 4, 5]}) == "the object {'a': [1, 2, 3, ...]}"
