"""Sentences with code and with names that hold anything: what is in a name ends with it."""

import re

import pytest
from tests.unit.report.synthetic_runs import answer, bare, build_run, draw_trajectories, figures
from tests.unit.report.test_page import Page

from unspoken.report import write_report
from unspoken.report.inline import apart, as_html

TURNED = "\u202eevil"
NAMES = ["a`b", "`", "``", TURNED, "\u2069\u202eevil", "\u2068open", "<b>`x", "שלום"]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", ""),
        ("a < b", "a &lt; b"),
        ("`eval <RUN>` gives", "<code>eval &lt;RUN&gt;</code> gives"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("one ` alone", "one ` alone"),
        (f"{apart('x')}: `y`", "<bdi>x</bdi>: <code>y</code>"),
        (f"{apart('a`b')} gives `c`", "<bdi>a`b</bdi> gives <code>c</code>"),
        (f"`eval {apart('a`b')}` gives", "<code>eval <bdi>a`b</bdi></code> gives"),
        (f"`{apart('`')}{apart('`')}`", "<code><bdi>`</bdi><bdi>`</bdi></code>"),
        (f"{apart(TURNED)} answers", f"<bdi>{TURNED}</bdi> answers"),
        ("\u2068 not closed `a`", "\u2068 not closed <code>a</code>"),
    ],
)
def test_code_and_names_have_their_elements(text, html):
    assert as_html(text) == html


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_end_itself(name):
    assert re.fullmatch("\u2068[^\u2066-\u2069]*\u2069", apart(name))
    assert as_html(f"{apart(name)} and `code`").endswith("</bdi> and <code>code</code>")


def test_many_marks_are_read_at_once():
    text = "`\u2068" * 50_000
    assert as_html(text) == text


def sentences(text):
    """The inside of everything that is told at the top of a page, of its figures and of its warnings."""
    return re.findall(r'<(?:h1|p class="headline"|li[^>]*|figcaption)>(.*?)</(?:h1|p|li|figcaption)>', text)


@pytest.mark.parametrize("name", ["a`b", TURNED, "`$x$`\u202e"])
def test_no_name_of_a_run_leaves_its_place_in_a_sentence(tmp_path, name):
    evaluated = build_run(tmp_path / name, trained=figures(9, 10), controls={name: figures(1, 10)}, data=name)
    draw_trajectories(evaluated, {1: 50, 2: 60})
    with (evaluated / "metrics.jsonl").open("a") as log:
        log.write('{"step": 9999, "epoch": 9, "stage": 2, "warning": "look", "thought_gradient_1": 0.5}\n')
    waiting = build_run(tmp_path / f"{name} 2")
    text = write_report([evaluated, waiting], tmp_path / "report.html").read_text(encoding="utf-8")
    told = sentences(text)
    assert any("unspoken eval" in each for each in told), "the path of the second run stands in code"
    assert sum(name in each for each in told) > 5
    for each in told:
        outside = re.sub(r"<bdi>.*?</bdi>", "", each)
        assert "\u202e" not in outside
        assert "`" not in outside
        assert set(re.findall(r"<code>(.*?)</code>", outside)) <= {"unspoken audit RUN", "unspoken eval "}
    assert bare(text).count("<code>unspoken audit RUN</code>") == 1


def test_a_page_of_plain_names_reads_as_before(tmp_path):
    run = build_run(tmp_path / "mine", trained=figures(9, 10), predictions=[answer()])
    text = Page(write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "On 10 held-out questions mine (coconut) answers 90.0%" in text
