"""The rows of a file, one by one, so that a bad row is named and the others are still read.

    [{"question": "2 + 3, times 4?", "steps": ["2 + 3 = 5", "5 * 4 = 20"], "answer": "20"}, ...]    JSON, whole rows
    {"question": "2 + 3, times 4?", "steps": ["2 + 3 = 5", "5 * 4 = 20"], "answer": "20"}           JSON lines
    2 + 3, times 4?||<<2+3=5>> <<5*4=20>> #### 20                                                   lines of text

Which of the three a file is shows in its first characters. A row of a JSON list counts by its position there, any other
by its line, both from 1. Lines with nothing on them are no rows.
"""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from unspoken.errors import DataError
from unspoken.files import MAX_ROW_BYTES, read_text
from unspoken.records import Rejection

Row: TypeAlias = Mapping[str, Any] | str
"""A JSON object, or a line of text."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file holds.

    Attributes:
        source: The file.
        found: Row number and content of each row that could be read, in the order of the file.
        unreadable: The rows that could not.
    """

    source: str
    found: Sequence[tuple[int, Row]]
    unreadable: Sequence[Rejection]


def read_rows(path: Path) -> Rows:
    """The rows of a file: a JSON list, JSON lines or lines of text, as its content says.

    Raises:
        DataError: It cannot be read (see `files.read_text`), is broken as a whole, or holds no row.
    """
    text = read_text(path)
    if _JSON_LIST.match(text):
        rows = _read_list(text, str(path))
    elif _JSON_OBJECT.match(text):
        _refuse_object_over_several_lines(text, path)
        rows = _read_lines(text, str(path), _decode_row)
    else:
        rows = _read_lines(text, str(path), _plain)
    if not rows.found and not rows.unreadable:
        raise DataError(f"{path} has 0 rows; give a file with at least one")
    return rows


def shown(value: Any) -> str:
    """A value for a message: its kind and its beginning, with what a terminal would not print escaped."""
    if value is None:
        return "null"
    kinds = {dict: "the object", list: "the list", str: "the text", bool: "the truth value"}
    return f"{kinds.get(type(value), 'the number')} {_BRIEF.repr(value)}"


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlist, _BRIEF.maxdict = 2, 60, 60, 3, 3

# a line of text may open with a bracket, but hardly with one of these
_JSON_LIST = re.compile(r"\s*\[\s*(?:[{\]]|\Z)")
_JSON_OBJECT = re.compile(r'\s*\{\s*["}]')


def _read_list(text: str, source: str) -> Rows:
    """Decode one element after the other: each is judged on its own, until the JSON itself breaks."""
    found: list[tuple[int, Row]] = []
    unreadable: list[Rejection] = []
    position, number = _skip_space(text, text.index("[") + 1), 0
    mark = text[position : position + 1]
    while mark != "]":
        number += 1
        end = _end_of_element(text, position, source, number)
        try:
            found.append((number, _decode_row(text[position:end])))
        except DataError as error:
            unreadable.append(Rejection(source, number, str(error)))
        position = _skip_space(text, end)
        mark = text[position : position + 1]
        if mark == ",":
            position = _skip_space(text, position + 1)
        elif mark != "]":
            raise _broken(source, number, text, position, "a comma or ] must follow the row")
    position = _skip_space(text, position + 1)
    if position < len(text):
        raise _broken(source, number, text, position, "text follows the end of the list")
    return Rows(source, tuple(found), tuple(unreadable))


def _end_of_element(text: str, position: int, source: str, number: int) -> int:
    try:
        return _PERMISSIVE.raw_decode(text, position)[1]
    except json.JSONDecodeError as error:
        raise _broken(source, number, text, error.pos, error.msg) from error
    except RecursionError as error:
        raise _broken(source, number, text, position, "it is nested too deeply to be data") from error


def _broken(source: str, number: int, text: str, position: int, problem: str) -> DataError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return DataError(
        f"{source} is not valid JSON at line {line}, column {column} (character {position}), in row {number}: "
        f"{problem}; no row after this place can be read, so mend the file there (it may be cut off)"
    )


def _read_lines(text: str, source: str, decode: Callable[[str], Row]) -> Rows:
    found: list[tuple[int, Row]] = []
    unreadable: list[Rejection] = []
    # not splitlines(): a row may hold U+2028 and other characters that end a line elsewhere
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append((number, decode(line.removesuffix("\r"))))
        except DataError as error:
            unreadable.append(Rejection(source, number, str(error)))
    return Rows(source, tuple(found), tuple(unreadable))


def _plain(line: str) -> Row:
    _refuse_large(line)
    return line


def _decode_row(text: str) -> Row:
    """One JSON object; what JSON leaves to its reader (repeated keys, NaN) is refused."""
    _refuse_large(text)
    try:
        value = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON at column {error.colno}: {error.msg}; mend it (it may be cut off)") from error
    except RecursionError as error:
        raise DataError("nested too deeply to be data; write texts and lists of texts") from error
    if not isinstance(value, dict):
        raise DataError(f"{shown(value)} stands for a row; write an object with question, steps and answer")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise DataError(f"the key {_BRIEF.repr(repeated)} stands twice in one object; keep one of them")
    return value


def _refuse_constant(constant: str) -> None:
    raise DataError(f"holds {constant}, which is not JSON; write null or a number")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:  # Python reads 4,300 digits: more take quadratic time
        raise DataError(f"holds an integer of {len(digits):,} digits; write it as a text") from error


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_int=_integer)
# only finds where an element ends; it reads no integer, so that none can be too long for it
_PERMISSIVE = json.JSONDecoder(parse_int=len)


def _refuse_object_over_several_lines(text: str, path: Path) -> None:
    if text.lstrip().partition("\n")[0].rstrip() == "{":
        raise DataError(
            f"{path} holds JSON objects over several lines; write a list of rows, [{{...}}, ...], or one row a line"
        )


def _refuse_large(text: str) -> None:
    # no character takes more than 4 bytes: most rows are known to be small enough without encoding them
    size = len(text.encode("utf-8", "surrogatepass")) if len(text) * 4 > MAX_ROW_BYTES else 0
    if size > MAX_ROW_BYTES:
        raise DataError(f"has {size:,} bytes, more than the {MAX_ROW_BYTES:,} of a row; split or shorten it")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "the pattern also matches no space"
    return match.end()


_SPACE = re.compile(r"[ \t\r\n]*")
