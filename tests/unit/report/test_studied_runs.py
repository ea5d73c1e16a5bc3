"""The page of runs that were audited and inspected: the model of tests/models, its figures and its searches."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.unit.report.test_page import ATTACKS, LIVE, Page

from unspoken.audit import audit
from unspoken.errors import CheckpointError
from unspoken.inspection import inspect
from unspoken.report import write_report
from unspoken.report.inspected import Example, Graph
from unspoken.report.read import read_runs
from unspoken.report.search_graph import frames, layout
from unspoken.tasks.graph import distances

MODELS = Path(__file__).parents[2] / "models"
METRICS = [
    {"step": 10, "epoch": 0, "stage": 0, "loss": 2.0},
    {
        "step": 20, "epoch": 1, "stage": 1, "loss": 1.0, "thought_norm": 11.0, "thought_norm_ratio": 10.5,
        "thought_cosine": 0.5, "thought_rank": 20.0, "thought_gradient_1": 0.01,
    },
    {
        "step": 30, "epoch": 2, "stage": 2, "loss": 0.5, "thought_norm": 11.0, "thought_norm_ratio": 11.5,
        "thought_cosine": 0.25, "thought_rank": 25.0, "thought_gradient_1": 0.02, "thought_gradient_2": 0.03,
    },
    {"step": 30, "epoch": 2, "stage": 2, "warning": "look at <b>this</b>"},
]  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Two runs with an audit and an inspection, and a log."""
    folder = tmp_path_factory.mktemp("studied")
    for name in ("hops-coconut", "hops-pause"):
        run = shutil.copytree(MODELS / name, folder / name)
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
        audit(run, rows=24)
        inspect(run, rows=24)
    return folder


PROBE = {
    "thought": 1, "target": "the answer", "n_train": 12, "n_test": 12, "accuracy": 0.75, "interval": [0.5, 0.9],
    "control_accuracy": 0.5, "control_interval": [0.25, 0.75], "majority": 0.25, "above_control": 0.25,
}  # fmt: skip
OLD_PROBE = {name: value for name, value in PROBE.items() if name != "above_control"}


@pytest.fixture
def runs(originals, tmp_path):
    return [shutil.copytree(originals / name, tmp_path / name) for name in ("hops-coconut", "hops-pause")]


def changed(run, name, change):
    values = json.loads((run / name).read_text())
    change(values)
    (run / name).write_text(json.dumps(values))


def page_of(runs, tmp_path):
    return write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else_and_stays_small(runs, tmp_path):
    text = page_of(runs, tmp_path)
    page = Page(text)
    assert not page.open
    assert not [tag for tag, _ in page.elements if tag in LIVE]
    assert not re.search(r"https?://|@import|@font-face|url\([^#]", text)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert len(text.encode()) < 5_000_000


def test_ids_are_unique_and_labels_meet_their_inputs(runs, tmp_path):
    page = Page(page_of(runs, tmp_path))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    inputs = page.named("input")
    assert inputs
    assert [each["id"] for each in inputs] == [each["for"] for each in page.named("label")]
    by_group = {}
    for each in inputs:
        by_group.setdefault(each["name"], []).append("checked" in each)
    # six examples a run; after 0 to 4 thoughts, and the first shown
    assert len(by_group) == 12
    assert all(group == [True, False, False, False, False] for group in by_group.values())


def test_every_step_of_a_search_has_its_rule_in_the_style_sheet(runs, tmp_path):
    text = page_of(runs, tmp_path)
    for number in range(1, 6):
        assert f".search input:nth-of-type({number}):checked ~ .frames .frame:nth-child({number})" in text
    assert "nth-of-type(6)" not in text


def test_an_audited_run_is_headed_by_its_verdict_and_several_by_theirs(runs, tmp_path):
    results = {
        "accuracy": 0.999, "interval": [0.99, 1.0], "n": 1000, "num_right": 999, "num_unanswered": 0,
        "tokens_per_answer": 2.0, "thoughts_per_answer": 4.0, "passes_per_answer": 6.0, "controls": {}, "data": "test",
        "data_sha256": "e" * 64, "num_parameters": 5, "environment": {},
    }  # fmt: skip
    (runs[0] / "results.json").write_text(json.dumps(results))
    (runs[0] / "predictions.jsonl").write_text("")
    text = Page(page_of(runs[:1], tmp_path)).text
    sentence = json.loads((runs[0] / "audit.json").read_text())["necessity"]["sentence"]
    assert f"hops-coconut (coconut) answers 99.9% [99.0, 100.0] correctly. {sentence}" in text.replace(
        "On 1,000 held-out questions hops-coconut answers", "hops-coconut (coconut) answers"
    )
    both = Page(page_of(runs, tmp_path)).text
    assert "hops-coconut : needed" in both
    assert re.search(r"hops-pause : (not needed|undecided)", both)


def test_figures_and_tables_tell_what_the_files_hold(runs, tmp_path):
    text = page_of(runs[:1], tmp_path)
    found = json.loads((runs[0] / "audit.json").read_text())
    mean = next(each for each in found["interventions"] if each["name"] == "mean")
    assert f"the mean thought {100 * mean['cost']:.1f} points" in text
    words = Page(text).text
    low, high = mean["cost_interval"]
    assert f"{100 * mean['cost']:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in words
    looked = json.loads((runs[0] / "inspection.json").read_text())
    last = looked["lens"][-1]
    assert f"{last['top1']:.1%} at {last['thought']} (control {last['shuffled_top1']:.1%})" in text
    name = looked["examples"][0]["graph"]["names"][0]
    value = looked["examples"][0]["values"][0][0]
    assert re.search(rf"<title>{name}: value {value:.3f}, ", text)
    for title in ("Likeness of thoughts", "Directions of thoughts", "Length of thoughts", "What learning says"):
        assert title in words
    assert "Warning of hops-coconut at step 30: look at <b>this</b>" in words


def test_the_places_of_attention_and_tracing_are_named_for_what_they_are(runs, tmp_path):
    """No marker stands behind the thoughts of hops, and pause slots hold constants: the last one writes the answer."""
    for run in runs:
        looked = json.loads((run / "inspection.json").read_text())
        names = looked["tracing"]["positions"]
        assert names == ["question", "thought 1", "thought 2", "thought 3", "thought 4, which writes the answer"]
        assert looked["tracing"]["effect"][-1][-1] == pytest.approx(1.0, abs=1e-5)
        words = Page(page_of([run], tmp_path)).text
        assert f"after {' '.join(names)}" in words
        assert "The place that writes the answer brings all of it back" in words
        assert "all facts question other thoughts itself 1, 1" in words
        assert "Start: the token" not in words, "there is none"


def test_probes_stand_beside_those_of_the_words(runs, tmp_path):
    changed(runs[0], "inspection.json", lambda values: values.update(probes=[PROBE]))
    text = page_of(runs[:1], tmp_path)
    assert "75.0% at 1 (control 50.0%)" in text
    assert "Hollow: the same probe on the words of the question" in text


def test_attention_is_shown_in_the_order_of_the_sequence(runs, tmp_path):
    groups = {"itself": 0.1, "other thoughts": 0.1, "start": 0.5, "question": 0.1, "all facts": 0.2, "markers": 0.0}
    entry = {"layer": 1, "thought": 1, "n": 9, "groups": groups}
    changed(runs[0], "inspection.json", lambda values: values.update(attention=[entry]))
    words = Page(page_of(runs[:1], tmp_path)).text
    assert "layer, thought start all facts question other thoughts itself 1, 1 0.50 0.20 0.10 0.10 0.10" in words
    assert "Start: the token that begins every sequence." in words


@pytest.mark.parametrize("attack", ATTACKS[:8])
def test_text_of_an_audit_or_an_inspection_never_comes_alive(runs, tmp_path, attack):
    def change_inspection(values):
        example = values["examples"][0]
        example["question"] = example["text"] = example["id"] = attack
        example["graph"]["names"][0] = attack
        example["thoughts"][0]["words"][0][0] = attack
        example["thoughts"][0]["oracle"]["words"] = [attack]
        values["tracing"]["layers"][0] = attack
        values["omitted"] = [{"section": attack, "reason": attack}]
        values["outcomes"][0]["classes"] = {attack: 1.0}

    def change_audit(values):
        values["questions"] = [attack]
        values["interventions"][0] |= {"name": attack, "what": attack, "kind": attack}
        values["shifts"][0]["name"] = attack
        values["necessity"]["sentence"] = attack

    changed(runs[0], "inspection.json", change_inspection)
    changed(runs[0], "audit.json", change_audit)
    text = page_of(runs[:1], tmp_path)
    page = Page(text)
    assert not page.open
    assert not [tag for tag, _ in page.elements if tag in LIVE]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("answer", ["\x01", "\x00a", "\ud800", "\uffff", "\n", "<b>", "$x$"])
def test_an_answer_of_any_letters_is_drawn(runs, tmp_path, answer):
    """Short answers stand in the picture of the paths of thoughts."""
    changed(runs[0], "inspection.json", lambda values: values["geometry"]["pca"]["answers"].__setitem__(0, answer))
    page = Page(page_of(runs[:1], tmp_path))
    assert "Paths of thoughts of hops-coconut" in page.text
    assert not page.open


@pytest.mark.parametrize(("name", "verb"), [("audit.json", "audit"), ("inspection.json", "inspect")])
def test_a_study_of_other_weights_is_refused(runs, name, verb):
    changed(runs[0], name, lambda values: values.update(model_sha256="0" * 64))
    with pytest.raises(
        CheckpointError, match=f"other weights than those of the run; run `unspoken {verb}` on it again"
    ):
        read_runs(runs[:1])


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("audit.json", lambda v: v["necessity"].update(verdict="maybe"), "necessity.verdict: input should be"),
        ("audit.json", lambda v: v["interventions"][0].update(cost=1.5), "less than or equal to 1"),
        ("audit.json", lambda v: v["interventions"][3].update(cost_interval=[-0.5, -0.4]), "does not lie in"),
        ("audit.json", lambda v: v.pop("budget"), "budget: field required"),
        ("inspection.json", lambda v: v["examples"][0]["values"][0].pop(), "not one value for each node"),
        ("inspection.json", lambda v: v["examples"][0]["held"].pop(), "not as many sets of nodes"),
        ("inspection.json", lambda v: v["examples"][0]["graph"].update(root=99), "names others"),
        ("inspection.json", lambda v: v["lens"][0].update(top1=2), "less than or equal to 1"),
        (
            "inspection.json",
            lambda v: v.update(probes=[OLD_PROBE]),
            "above_control: field required; run `unspoken insp",
        ),
    ],
)
def test_a_damaged_study_is_refused_with_what_is_wrong(runs, name, change, reason):
    changed(runs[0], name, change)
    with pytest.raises(CheckpointError, match=f"{name} is damaged: .*{reason}"):
        read_runs(runs[:1])


def random_graph(seed):
    rng = random.Random(seed)
    count = rng.randint(2, 20)
    edges = sorted({(a, b) for a, b in (rng.sample(range(count), 2) for _ in range(2 * count))})
    names = [f"n{index}" for index in range(count)]
    values = {"names": names, "edges": edges, "root": 0, "target": 1, "distractor": None, "frontiers": []}
    bare = Graph(**values, depths=[None] * count)
    return Graph(**values, depths=distances(bare))


@pytest.mark.parametrize("seed", range(20))
def test_no_two_nodes_share_a_place_and_columns_are_steps_from_the_root(seed):
    graph = random_graph(seed)
    places = layout(graph)
    assert sorted(places) == list(range(len(graph.names)))
    assert len(set(places.values())) == len(places)
    column = {places[node][0]: graph.depths[node] for node in places if graph.depths[node] is not None}
    for node, depth in enumerate(graph.depths):
        if depth is not None:
            assert column[places[node][0]] == depth
    reached = [places[node][1] for node, depth in enumerate(graph.depths) if depth is not None]
    others = [places[node][1] for node, depth in enumerate(graph.depths) if depth is None]
    assert not others or max(reached) < min(others)


def example(**changes):
    values = {
        "id": "x", "question": "?", "expected": "b", "text": "b", "verdict": "right", "thoughts": [], "forced": [],
        "graph": {
            "names": ["a", "b"], "edges": [(0, 1)], "root": 0, "target": 1, "distractor": None, "depths": [0, 1],
            "frontiers": [[0], [1]],
        },
        "values": [[0.25, 0.75], [0.004, 0.996]], "held": [[1], []],
    }  # fmt: skip
    return Example(**(values | changes))


def test_a_frame_shows_the_values_as_areas_numbers_and_words():
    first, second = frames(example())
    assert (first.label, second.label) == ("no thought", "1 thought")
    assert "<title>b: value 0.750, 1 step from the root, target, a correct search may hold it now</title>" in first.svg
    assert first.svg.count('class="held"') == 1
    assert second.svg.count('class="held"') == 0
    radii = [float(radius) for radius in re.findall(r'class="full"[^>]*r="([\d.]+)"', first.svg)]
    smallest, largest = 5.0, 17.0
    areas = [(radius**2 - smallest**2) / (largest**2 - smallest**2) for radius in radii]
    assert areas == pytest.approx([0.25, 0.75], abs=0.01)
    assert re.findall(r'class="value"[^>]*>([\d.]+)<', second.svg) == ["1.00"]  # 0.004 is too small to be written


def test_without_a_graph_there_is_no_frame():
    assert frames(example(graph=None, values=None, held=None)) == []


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_has_nothing_to_complain_of(runs, tmp_path):
    report = write_report(runs, tmp_path / "report.html")
    picture = tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    done = subprocess.run(
        [CHROMIUM, *options, "--enable-logging=stderr", f"--screenshot={picture}", report.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    # messages of the page itself: refused requests, broken markup of drawings, scripts
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 10_000
