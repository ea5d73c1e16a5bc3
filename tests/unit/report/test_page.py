import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from tests.unit.report.synthetic_runs import answer, build_run, figures

from unspoken.errors import CheckpointError
from unspoken.report import write_report

VOID = {"meta", "br", "link", "img", "input", "hr", "base", "area", "col", "embed", "source", "track", "wbr"}
LIVE = {
    "script",
    "iframe",
    "object",
    "embed",
    "link",
    "base",
    "form",
    "img",
    "image",
    "video",
    "audio",
    "foreignobject",
}

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre></article><iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!--<script>alert(1)//-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<a href='javascript:alert(1)'>x</a>",
    "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    "{{ 7 * 7 }}{% for x in [] %}<style>@import url(//evil)</style>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "`<script>alert(1)</script>`",
    "$<script>$\x00\x08\u2028\ud800<b>",
]


class Page(HTMLParser):
    """The elements of a page, the text outside of its style sheet, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def named(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture
def runs(tmp_path):
    rows = [answer(question="who is a ?"), answer("wrong", text="### x", id="row-7"), answer("no answer", text="  ")]
    controls = {"zero": figures(132, 1000), "mean": figures(140, 1000)}
    return [
        build_run(tmp_path / "coconut", trained=figures(989, 1000), controls=controls, predictions=rows),
        build_run(
            tmp_path / "cot", method="cot", trained=figures(994, 1000, thoughts=0), stages=(0,), predictions=rows
        ),
        build_run(tmp_path / "pause", trained=figures(300, 1000), controls={"zero": figures(290, 1000)}, seed=7),
    ]


def write(runs, tmp_path):
    out = write_report(runs, tmp_path / "out" / "report.html")
    return out.read_text(encoding="utf-8")


def test_the_page_holds_what_the_runs_hold(runs, tmp_path):
    page = Page(write(runs, tmp_path))
    assert not page.open
    assert "On 1,000 held-out questions cot has the highest accuracy, 99.4% [98.7, 99.7]" in page.text
    assert "with the mean thought in place of each, the mildest of 2 controls, 14.0% [12.0, 16.3]" in page.text
    assert ", at least 81.7 points less; whether they are needed: unspoken audit RUN" in page.text
    assert "29.0% [26.3, 31.9]; the intervals overlap, so these rows show no difference" in page.text
    assert "98.9% [98.0, 99.4] 13.2% [11.2, 15.4] 14.0% [12.0, 16.3] 2.0 4.0 6.0 406,912" in page.text
    assert "99.4% [98.7, 99.7] has no thoughts 2.0 0.0 2.0 406,912" in page.text
    assert "29.0% [26.3, 31.9] not measured" in page.text
    assert "✗ wrong row-7 Question a b c ? Expected d Written ### x" in page.text
    assert "Written nothing" in page.text
    assert "name: hops" in page.text
    assert (
        "unspoken train recipe.yaml --out coconut unspoken eval coconut --split test 'controls=[zero,mean]'"
        in page.text
    )
    assert "unspoken eval cot --split test" in page.text
    assert "python 3.11.7, unspoken 0.1.0, torch 2.13.0" in page.text
    assert "aaaaaaaaaaaaaaaa" in page.text
    assert "999 of 1,000" in page.text


def test_values_that_all_runs_share_are_told_once(runs, tmp_path):
    cells = Page(write(runs, tmp_path)).named("td")
    assert {"colspan": "3"} in cells
    text = Page(write(runs, tmp_path)).text
    assert "Seed 0 7 Trained" in text
    assert "Task hops Method coconut cot coconut" in text


def test_the_page_needs_nothing_else(runs, tmp_path):
    text = write(runs, tmp_path)
    page = Page(text)
    assert not [tag for tag, _ in page.elements if tag in LIVE]
    assert not re.search(r"https?://|//[a-z]|@import|@font-face|url\([^#]", text)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")]
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_the_page_can_be_read_without_seeing_it(runs, tmp_path):
    page = Page(write(runs, tmp_path))
    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    drawings = page.named("svg")
    assert len(drawings) == len(page.named("figure")) == len(page.named("figcaption")) == 4
    assert all(drawing["role"] == "img" and len(drawing["aria-label"]) > 40 for drawing in drawings)
    assert all("scope" in attributes for attributes in page.named("th"))
    scrolling = [attributes for attributes in page.named("div") if attributes.get("class") == "wide"]
    assert all(attributes["tabindex"] == "0" and attributes["role"] == "region" for attributes in scrolling)


def test_ids_are_unique_and_every_reference_meets_one(runs, tmp_path):
    page = Page(write(runs, tmp_path))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = {attributes["href"][1:] for _, attributes in page.elements if "href" in attributes}
    values = [value or "" for _, attributes in page.elements for value in attributes.values()]
    targets |= {target for value in values for target in re.findall(r"url\(#([^)]*)\)", value)}
    targets |= {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets <= set(ids)


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    first = write_report(runs, tmp_path / "1.html").read_bytes()
    second = write_report(runs, tmp_path / "2.html").read_bytes()
    assert first == second


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_of_a_run_never_comes_alive(tmp_path, attack):
    rows = [answer(verdict, attack, attack, attack, attack) for verdict in ("right", "wrong", "no answer")]
    name = attack.replace("/", "|").replace("\x00", "").replace("\ud800", "")
    controls = {"zero": figures(1, 10), attack: figures(2, 10)}
    hostile = build_run(
        tmp_path / name, method=attack, task=attack, trained=figures(9, 10), controls=controls, predictions=rows,
        data=attack, data_sha256=attack,
    )  # fmt: skip
    plain_rows = [answer(verdict) for verdict in ("right", "wrong", "no answer")]
    plain = build_run(
        tmp_path / ("x" * len(name)), method="m", task="t", trained=figures(9, 10),
        controls={"zero": figures(1, 10), "other": figures(2, 10)}, predictions=plain_rows, data="rows.json",
    )  # fmt: skip
    text = write([hostile], tmp_path)
    page = Page(text)
    expected = Page(write([plain], tmp_path))
    # no element and no attribute more than a harmless run has, code between backticks aside
    assert shape(page) == shape(expected)
    assert not [tag for tag, _ in page.elements if tag in LIVE]
    assert "\x00" not in text


def shape(page):
    return [(tag, sorted(attributes)) for tag, attributes in page.elements if tag not in ("code", "path", "use", "g")]


def test_attacks_are_shown_as_they_were_written(tmp_path):
    rows = [answer(question=attack) for attack in ATTACKS[:1]]
    run = build_run(tmp_path / "run", trained=figures(1, 2), predictions=rows)
    assert "Question <script>alert(1)</script> Expected" in Page(write([run], tmp_path)).text


def test_long_texts_lose_their_middle(tmp_path):
    run = build_run(tmp_path / "run", trained=figures(1, 2), predictions=[answer(text="first " + "x" * 9999 + " last")])
    text = write([run], tmp_path)
    assert re.search(r"first x+…x+ last", text)
    assert len(text) < 100_000


def test_a_long_run_keeps_the_page_small(tmp_path):
    run = build_run(tmp_path / "run", stages=tuple(range(60)), epochs=20)
    assert (run / "metrics.jsonl").read_text().count("\n") > 5000
    assert len(write([run], tmp_path)) < 400_000


def test_a_run_that_is_not_evaluated_shows_its_curves(tmp_path):
    run = build_run(tmp_path / "coconut")
    page = Page(write([run], tmp_path))
    assert "but not evaluated; unspoken eval" in page.text
    assert "gives the rest" in page.text
    assert [attributes["id"] for attributes in page.named("figure")] == ["loss", "validation"]
    assert "coconut not evaluated 406,912" in page.text
    assert not page.named("article")


def test_evaluated_and_other_runs_stand_side_by_side(tmp_path):
    evaluated = build_run(tmp_path / "coconut", trained=figures(9, 10), controls={"zero": figures(0, 10)})
    stopped = build_run(tmp_path / "pause", finished=False)
    text = Page(write([evaluated, stopped], tmp_path)).text
    assert "On 10 held-out questions coconut answers 90.0%" in text
    assert "pause (coconut) is not trained to its end" in text
    assert "pause coconut not trained to its end" in text


def test_fonts_without_a_glyph_do_not_matter(tmp_path, recwarn):
    run = build_run(tmp_path / "思考 🥥", trained=figures(9, 10))
    assert "思考 🥥" in Page(write([run], tmp_path)).text
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_a_damaged_run_writes_nothing(tmp_path):
    run = build_run(tmp_path / "run", trained=figures(9, 10))
    (run / "results.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"results\.json is damaged"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_directory_is_not_overwritten(tmp_path):
    run = build_run(tmp_path / "run", trained=figures(9, 10))
    with pytest.raises(CheckpointError, match="is a directory; give the name of the file"):
        write_report([run], tmp_path)
