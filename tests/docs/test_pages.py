"""The documentation is true: its code runs and prints what it shows, its tables name what there is."""

import importlib.util
import io
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from tests.docs.markdown import (
    DOCS,
    PAGES,
    ROOT,
    SHOWN,
    TOP,
    anchors,
    blocks,
    commands,
    first_column,
    fits,
    links,
    section,
)

from unspoken.audit import audit
from unspoken.bench import bench
from unspoken.bench.cases import Case
from unspoken.cli.main import main
from unspoken.controls import IMAGE_CONTROLS, THOUGHT_CONTROLS
from unspoken.files import read_json, read_json_lines
from unspoken.inspection import inspect
from unspoken.legacy.multimodal import MULTIMODAL_KEYS
from unspoken.legacy.released import KEYS
from unspoken.methods import METHODS
from unspoken.records import Evaluation, Prediction
from unspoken.tasks import TASKS
from unspoken.thoughts import SOURCES

EXECUTED = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]

TINY = """
task: {name: hops, symbols: 6, hops: 3, train_rows: 40, validation_rows: 8, test_rows: 8}
model: {layers: 1, heads: 2, width: 16, max_positions: 64}
method: {name: coconut, max_stage: 2, epochs_per_stage: 1}
train: {epochs: 2, batch_size: 16, learning_rate: 0.003, log_every: 1, save: end}
evaluate: {controls: [zero, mean, noise, another_row, removed]}
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to work in; what a page registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = [(registry, dict(registry)) for registry in (TASKS, SOURCES, METHODS)]
    yield tmp_path
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


def write_named_blocks(page):
    """The files that a page shows, in the folder of the test."""
    for block in blocks(page):
        if block.name:
            Path(block.name).write_text(f"{block.text}\n", encoding="utf-8")


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom_and_prints_what_the_page_shows(page, elsewhere):
    write_named_blocks(page)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language != "python":
            continue
        where = f"{page.name} line {block.line}"
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        assert block.output is not None or not printed.getvalue(), f"{where} prints what the page does not show"
        if block.output is not None:
            assert fits(block.output, printed.getvalue()), f"{where} prints:\n{printed.getvalue()}"


SHOWN_COMMANDS = [
    pytest.param(page, command, id=f"{page.stem}-{command.line}-{command.words[1]}")
    for page in PAGES
    for command in commands(page)
    if command.output is not None and command.words[0] == "unspoken" and command.words[1] in SHOWN
]


@pytest.mark.parametrize(("page", "command"), SHOWN_COMMANDS)
def test_a_command_prints_what_the_page_shows(page, command, elsewhere):
    write_named_blocks(page)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        main(command.words[1:])
    assert fits(command.output, printed.getvalue()), printed.getvalue()


@pytest.mark.parametrize("page", [*PAGES, *TOP], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_index():
    listed = [line.strip() for block in blocks(DOCS / "index.md") for line in block.text.split("\n")]
    for page in PAGES:
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        folder = page.parent.relative_to(DOCS).as_posix()
        assert name in ("index", *listed) or f"{folder}/*" in listed, f"{name} is in no toctree of index.md"


def test_the_tables_of_settings_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("recipe_tables", DOCS / "recipe_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert tables.refreshed(page) == page, "run `python docs/recipe_tables.py`"


def test_every_control_is_explained_in_its_table():
    named = first_column(section(DOCS / "metrics.md", "## Controls"))
    count = len(THOUGHT_CONTROLS)
    assert (sorted(named[:count]), sorted(named[count:])) == (sorted(THOUGHT_CONTROLS), sorted(IMAGE_CONTROLS))


def test_every_released_key_has_its_row():
    assert set(first_column(section(DOCS / "released_coconut.md", "## Every key"))) == KEYS
    own = first_column(section(DOCS / "released_coconut.md", "## From MultiCoCo"))
    assert set(own) == MULTIMODAL_KEYS - KEYS


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run with thoughts, evaluated under every control."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(TINY)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
        assert main(["eval", str(folder / "run")]) == 0
        assert main(["report", str(folder / "run")]) == 0
    return folder / "run"


def test_every_number_of_a_run_is_explained(tiny_run):
    page = DOCS / "metrics.md"
    logged = {key for row in read_json_lines(tiny_run / "metrics.jsonl") for key in row}
    logged = {re.sub(r"gradient_\d+$", "gradient_K", key) for key in logged}
    assert set(first_column(section(page, "## metrics.jsonl"))) == logged | {"warning"}
    results = read_json(tiny_run / "results.json")
    nested = {f"environment.{key}" for key in results["environment"]}
    assert set(first_column(section(page, "## results.json"))) == results.keys() | nested | {"shared_with_training"}
    for figures in results["controls"].values():
        assert figures.keys() == {each.name for each in fields(Evaluation) if each.default is MISSING} <= results.keys()
    optional = [each.name for each in fields(Evaluation) if each.default is not MISSING]
    assert first_column(section(page, "## Questions with choices")) == [*optional, "chance", "majority"]
    assert first_column(section(page, "## predictions.jsonl")) == [field.name for field in fields(Prediction)]


def test_every_field_of_an_audit_and_of_an_inspection_is_explained(tmp_path):
    run = shutil.copytree(ROOT / "tests" / "models" / "hops-coconut", tmp_path / "run")
    found = audit(run, rows=4)
    explained = set(first_column(section(DOCS / "audit.md", "## audit.json")))
    of_a_change = {key for each in found["interventions"] for key in each}
    assert explained == found.keys() | of_a_change
    inspected = inspect(run, rows=4)
    assert set(first_column(section(DOCS / "inspection.md", "## inspection.json"))) == inspected.keys()


def test_every_intervention_is_explained(tmp_path):
    run = shutil.copytree(ROOT / "tests" / "models" / "hops-coconut", tmp_path / "run")
    found = audit(run, rows=24)
    # what applies to none of these rows is explained as well
    omitted = [each["section"].removeprefix("intervention ") for each in found["omitted"]]
    names = {re.sub(r"_[\d.]+$", "", name) for name in [*(each["name"] for each in found["interventions"]), *omitted]}
    table = first_column(section(DOCS / "audit.md", "## What is changed"))
    assert {re.sub(r"_[SKR]$", "", name) for name in table} == names


def test_every_file_of_a_run_is_explained(tiny_run):
    named = set(first_column(section(DOCS / "reproducibility.md", "## The run directory")))
    controls = read_json(tiny_run / "results.json")["controls"]
    named = named - {"checkpoints/", "predictions.{control}.jsonl"} | {f"predictions.{name}.jsonl" for name in controls}
    paths = [path.relative_to(tiny_run).as_posix() for path in tiny_run.rglob("*") if path.is_file()]
    written = {path.replace("checkpoint-6", "checkpoint-N") for path in paths} - {".lock"}
    assert written == named


def test_every_field_of_a_bench_is_explained(tmp_path):
    tiny = Case("tiny", layers=1, heads=1, width=8, vocabulary=16, rows=2, generated_rows=2, question=4, answer=2)
    bench(tmp_path / "bench.json", cases=[tiny], repeats=1, staged_rows=8, progress=lambda step: None)
    found = read_json(tmp_path / "bench.json")
    fields_of_rows = {key for row in found["rows"] for key in row}
    assert set(first_column(section(DOCS / "performance.md", "## How to bench"))) == found.keys() | fields_of_rows
