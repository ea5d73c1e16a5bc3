"""The text of an inspection, line by line."""

from dataclasses import asdict

from unspoken.inspection.lens import LensFigures
from unspoken.inspection.outcomes import Outcomes
from unspoken.inspection.probes import Probe
from unspoken.inspection.search import Recovery
from unspoken.inspection.table import table
from unspoken.inspection.tracing import Trace
from unspoken.thoughts.geometry import Cloud

CLOUD = Cloud(norm=5.25, norm_sd=0.5, cosine=-0.125, effective_rank=3.75)


def inspection(**changes):
    """What `inspect` puts together, from the records of the analyses: a field that is renamed there is missed here."""
    sections = {
        "examples": [
            {
                "id": "prosqa/test/1",
                "question": "0 1 | [Q] 1 2 [R] 0",
                "images": [
                    {"path": "a.png", "attention": [[0.25, 0.5], [0.125, 0.0], [0.0, 0.0625]]},
                    {"path": "b.png", "attention": None},
                ],
                "expected": "1",
                "text": " [A] 1 ",
                "verdict": "right",
                "thoughts": [
                    {
                        "words": [(" 1", 0.75), ("2", 0.125)],
                        "oracle": {"words": ["1", "3"], "rank": 1, "probability": 0.8},
                    },
                    {"words": [("|", 1.0)], "oracle": None},
                ],
                "forced": [{"text": " [A] 2 ", "verdict": "wrong"}, {"text": "[A] 1", "verdict": "right"}],
            }
        ],
        "lens": [asdict(LensFigures(1, 500, 0.5, (0.456, 0.544), 0.875, 0.4, 0.0625, (0.044, 0.087)))],
        "frontier": [asdict(Recovery(0, 500, 0.9375, (0.9, 0.96), 0.5, (0.48, 0.52)))],
        "geometry": {
            "norms": [{"thought": 1, "mean": CLOUD.norm, "sd": CLOUD.norm_sd}],
            "embedding_norm": {"mean": 1.5, "sd": 0.1},
            "cosine": [CLOUD.cosine],
            "effective_rank": [CLOUD.effective_rank],
        },
        "probes": [
            {"thought": 1, "target": "the answer", **asdict(Probe(9, 9, 0.75, (0.7, 0.8), 0.25, (0.2, 0.3), 0.375))}
        ],
        "outcomes": [asdict(Outcomes(2, 500, {"correct path": 0.75, "hallucination": 0.25}, 0.75, (0.7, 0.8), 3.5))],
        "tracing": asdict(Trace(("embeddings", "layer 1"), ("question", "thought 1"), ((1.0, 0.25), (-0.125, 0.5)), 9)),
        "omitted": [{"section": "attention", "reason": "this decoder does not show it"}],
    }
    return {**sections, **changes}


def test_a_line_break_is_seen():
    example = inspection()["examples"][0]
    thoughts = [{"words": [("\n", 0.75), (" 2", 0.125)], "oracle": None}]
    assert "  thought 1: '\\n' 0.75  2 0.12" in table(inspection(examples=[{**example, "thoughts": thoughts}]))


def test_every_section_is_written():
    assert table(inspection(probes=[])).splitlines() == [
        "prosqa/test/1: 0 1 | [Q] 1 2 [R] 0",
        "  expected '1', wrote '[A] 1': right",
        "  thought 1: 1 0.75  2 0.12   should hold 1/3: rank 1",
        "  thought 2: | 1.00",
        "  a.png: looked at by thought 1 0.75, thought 2 0.12, the answer 0.06",
        "  b.png: this decoder does not show its attention",
        "  made to write after 0, 1 ... thoughts: '[A] 2' | '[A] 1'",
        "",
        "lens       thought  top-1  95% interval    top-5  shuffled",
        "                 1  0.500  [0.456, 0.544]  0.875  0.062",
        "",
        "frontier   after k  AUC    95% interval    shuffled",
        "                 0  0.938  [0.900, 0.960]  0.500 [0.480, 0.520]",
        "",
        "geometry   thought   norm  cosine  effective rank",
        "                 1   5.25  -0.125             3.8",
        "           embeddings 1.50",
        "",
        "outcomes   after k  accuracy  words  classes",
        "                 2     0.750    3.5  correct path 0.75, hallucination 0.25",
        "",
        "tracing               question  thought 1",
        "           embeddings     1.00       0.25",
        "           layer 1       -0.12       0.50",
        "",
        "left out: attention: this decoder does not show it",
    ]


def test_a_long_name_of_a_place_widens_its_column_alone():
    places = ("question", "thought 1, which writes the answer")
    found = asdict(Trace(("embeddings",), places, ((0.125, 0.5),), 9))
    lines = table(inspection(tracing=found)).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("tracing"))
    heading, row = lines[start : start + 2]
    assert heading == "tracing    " + " " * 11 + "question  thought 1, which writes the answer"
    assert row.split() == ["embeddings", "0.12", "0.50"]
    assert len(row) == len(heading)
    assert row[: heading.index("question") + len("question")].endswith("0.12")


def test_probes_stand_between_geometry_and_outcomes():
    lines = table(inspection()).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("probes"))
    assert lines[start].split() == ["probes", "thought", "target", "accuracy", "question", "majority"]
    assert lines[start + 1].split() == ["1", "the", "answer", "0.750", "0.250", "0.375"]
    assert (lines[start - 1], lines[start + 2]) == ("", "")
    assert [line for place, line in enumerate(lines) if not start <= place < start + 3] == table(
        inspection(probes=[])
    ).splitlines()


def test_what_is_not_there_has_no_heading():
    lines = table(inspection(examples=[], frontier=None, probes=[], tracing=None, omitted=[])).splitlines()
    headings = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert headings == ["lens", "geometry", "outcomes"]
    assert lines[-1].endswith("hallucination 0.25"), "no empty lines at the end"


def test_each_entry_of_a_section_has_its_line():
    found = [asdict(Recovery(k, 9, k / 8, (0.0, 1.0), 0.5, (0.0, 1.0))) for k in range(3)]
    text = table(inspection(frontier=found, omitted=[{"section": name, "reason": "why"} for name in "ab"]))
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("frontier"))
    assert [line.split()[:2] for line in lines[start + 1 : start + 4]] == [
        ["0", "0.000"],
        ["1", "0.125"],
        ["2", "0.250"],
    ]
    assert lines[-2:] == ["left out: a: why", "left out: b: why"]
