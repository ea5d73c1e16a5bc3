import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspoken.errors import RecipeError
from unspoken.recipe.strict_yaml import parse_value, parse_yaml, read_document, read_yaml, to_yaml


def refused(text):
    with pytest.raises(RecipeError) as error:
        parse_yaml(text, "r.yaml")
    assert error.value.where == "r.yaml"
    return error.value.problems


def test_numbers_are_numbers_however_they_are_written():
    values = parse_yaml(
        'a: 1e-4\nb: !!float "1e-4"\nc: 1.0e-4\nd: 1E-4\ne: .5\nf: 5.\ng: 010\nh: 1_000\ni: -3\nj: 2.5e3', "r.yaml"
    )
    assert values == {
        "a": 1e-4,
        "b": 1e-4,
        "c": 1e-4,
        "d": 1e-4,
        "e": 0.5,
        "f": 5.0,
        "g": 10,
        "h": 1000,
        "i": -3,
        "j": 2500.0,
    }
    assert {key: type(value) for key, value in values.items() if key in "agh"} == {"a": float, "g": int, "h": int}


def test_only_true_false_and_null_are_special_words():
    values = parse_yaml(
        "a: True\nb: false\nc: null\nd: ~\ne:\nf: no\ng: on\nh: 2026-01-01\ni: 1:30\nj: <<\nk: None", "x"
    )
    assert values == {
        "a": True,
        "b": False,
        "c": None,
        "d": None,
        "e": None,
        "f": "no",
        "g": "on",
        "h": "2026-01-01",
        "i": "1:30",
        "j": "<<",
        "k": "None",
    }


def test_infinity_and_nan_are_read_for_the_range_checks_to_refuse():
    values = parse_yaml("a: .inf\nb: -.inf\nc: .nan\nd: 1e999", "r.yaml")
    assert (values["a"], values["b"], values["d"]) == (math.inf, -math.inf, math.inf)
    assert math.isnan(values["c"])


def test_every_repeated_key_is_named_with_both_lines():
    assert refused("a: 1\nb:\n  c: 1\n  c: 2\na: 2") == (
        "line 4: the key 'c' stands there again, first in line 3; keep one",
        "line 5: the key 'a' stands there again, first in line 1; keep one",
    )


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("a: 1\nb: !!python/object/apply:os.system ['touch X']", "!!python/object/apply:os.system"),
        ("a: 1\nb: !!python/name:os.system x", "!!python/name:os.system"),
        ("a: 1\nb: !mine 3", "!mine"),
        ("a: 1\nb: !!set {x, y}", "!!set"),
        ("a: 1\nb: !!binary aGk=", "!!binary"),
    ],
)
def test_tags_are_refused_and_nothing_is_executed(text, tag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"line 2: the tag '{tag}' is not read here; remove it" in refused(text)
    assert not list(tmp_path.iterdir())


def test_aliases_are_written_out():
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: [*x, *x]", "r.yaml")["d"] == [{"b": 1}, {"b": 1}]


def test_a_bomb_of_aliases_is_refused_at_once():
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{previous}'] * 9)}]")
    start = time.process_time()
    (problem,) = refused("\n".join(lines))
    assert time.process_time() - start < 1
    assert "more than 20,000 values" in problem


def test_an_alias_to_itself_is_refused():
    (problem,) = refused("a: &a [*a]")
    assert "refers to itself" in problem


def test_deep_nesting_is_refused():
    assert "nested too deeply" in refused("a: " + "[" * 2_000)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n\tb: 2", "line 2, column 1: found character '\\t'"),
        ("a: b: c", "line 1, column 5"),
        ("a: 'x", "line 1, column 6"),
        ("a: *nope", "line 1, column 4"),
        ("a: 1\n---\nb: 1", "one document"),
        ("a: [1, 2", "line 1"),
        ("a: x\nb: !!int x", "line 2: 'x' is not of type int"),
        ("a: " + "9" * 5000, "is not of type int"),
        ("a: 1\nb: \x07", "line 2: the character U+0007"),
        ("1: x", "line 1: a key must be text, found '1'; put it in quotes"),
        ("? [a]\n: x", "line 1: a key must be text, found a list or mapping"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "line 3: merge keys"),
        ("- a", "line 1: expected a mapping (key: value), found a list"),
        ("text", "line 1: expected a mapping (key: value), found a single value"),
        ("", "it is empty"),
        ("# a remark\n", "it is empty"),
        ("a\0:\0 \x001\0", "UTF-16"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, expected):
    assert expected in refused(text)[0]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes("\ufefftask:\r\n  name: hops\r\n".encode())
    assert read_yaml(path) == {"task": {"name": "hops"}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_refused_by_name(tmp_path, encoding):
    path = tmp_path / "r.yaml"
    path.write_bytes("task: 1".encode(encoding))
    with pytest.raises(RecipeError, match="UTF-16"):
        read_yaml(path)


def test_files_that_are_too_large_absent_or_no_files_are_refused(tmp_path):
    large = tmp_path / "large.yaml"
    large.write_text("a: 1\n" * 300_000)
    for path, reason in [(large, "1,500,000 bytes"), (tmp_path / "absent.yaml", "does not exist"), (tmp_path, "not a")]:
        with pytest.raises(RecipeError, match=reason) as error:
            read_yaml(path)
        assert error.value.where == str(path)


def test_the_line_of_every_key_is_known(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("# remark\ntask:\n  name: hops\n\ntrain:\n  trainer: {fsdp: x}\n")
    assert read_document(path).lines == {
        "task": 2,
        "task.name": 3,
        "train": 5,
        "train.trainer": 6,
        "train.trainer.fsdp": 6,
    }


def test_one_value_may_be_anything_plain():
    assert [parse_value(text, "x") for text in ("1e-3", "[1, a]", "", "{a: b}", "no")] == [
        1e-3,
        [1, "a"],
        None,
        {"a": "b"},
        "no",
    ]
    with pytest.raises(RecipeError):
        parse_value("[1, ", "x")


letters = st.text(st.characters(categories=["L"]), min_size=1)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
plain = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(letters, plain, min_size=1, max_size=4))
def test_what_is_written_is_read_back(values):
    assert parse_yaml(to_yaml(values), "x") == values


@given(
    st.sampled_from(
        ["no", "on", "1e-4", "010", "<<", "~", "null", "True", "1_000", "- a", ".5", "a: b", "#", "=", "1:30"]
    )
)
def test_texts_that_look_like_something_else_stay_texts(text):
    assert parse_yaml(to_yaml({"key": text}), "x") == {"key": text}
