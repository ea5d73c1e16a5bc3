"""The shipped model: whole, small, as its card says, and never written into."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tests.docs.markdown import blocks

from unspoken.answer import ask
from unspoken.audit import audit
from unspoken.cli.main import main
from unspoken.demo import demo_pretrained, table
from unspoken.errors import CheckpointError, RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.evaluation.many import evaluate_many
from unspoken.files import read_json
from unspoken.inspection import inspect
from unspoken.pretrained import CARD, copy_pretrained, pretrained_models, run_to_read, run_to_write
from unspoken.recipe import dump, load_recipe
from unspoken.report import write_report
from unspoken.run_directory import MODEL_FILES, open_run, read_recipe, read_summary
from unspoken.training.train import train

ROOT = Path(__file__).parents[2]
NAME = "prosqa-small"
MODEL = pretrained_models()[NAME]
LARGEST = 8 * 2**20


@pytest.fixture(scope="module")
def opened():
    return open_run(MODEL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def held():
    """Every shipped file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in MODEL.rglob("*")}


def share(figures, key="accuracy", interval="interval"):
    low, high = figures[interval]
    return f"{figures[key]:.3f} [{low:.3f}, {high:.3f}]", f"{figures.get('n', 0):,}"


def measured():
    """The rows of the card's table, made from the files of results."""
    results, audit, inspection = (
        read_json(ROOT / "results" / f"{verb}-{NAME}.json") for verb in ("eval", "audit", "inspection")
    )
    assert {each["model_sha256"] for each in (results, audit, inspection)} == {
        read_summary(MODEL)["sha256"]["model.safetensors"]
    }
    needed, changed = audit["necessity"], audit["counterfactuals"]
    shifts = {(each["name"], each["num_thoughts"]): each for each in audit["shifts"]}
    (removed,) = (each for each in audit["interventions"] if each["name"] == "removed")
    (three,) = (each for each in audit["budget"] if each["num_thoughts"] == 3)
    low, high = needed["interval"]
    rows = [
        share(results),
        *(share(results["controls"][name]) for name in ("zero", "mean", "another_row")),
        share(removed),
        (f"{100 * needed['cost']:.1f} [{100 * low:.1f}, {100 * high:.1f}]", f"{needed['n']:,}"),
        share(three),
        (share(changed, "following", "following_interval")[0], f"{changed['num_right']:,}"),
        share(shifts["target and distractor equally deep", 3]),
        share(shifts["more hops", 5]),
        share(shifts["denser graphs", 3]),
        share(shifts["many shortest paths", 3]),
        *(share(each, "top1") for each in inspection["lens"]),
    ]
    assert needed["verdict"] == "needed"
    assert needed["least_harmful"] == "mean"
    return rows


def test_it_is_small_whole_and_sealed():
    names = {path.name for path in MODEL.iterdir()}
    assert names == {*MODEL_FILES, "run.json", "resolved.json", "recipe.yaml", "metrics.jsonl", CARD}
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= LARGEST
    assert set(read_summary(MODEL)["sha256"]) == set(MODEL_FILES)


def test_no_place_of_the_machine_that_trained_it_stands_in_it():
    for path in MODEL.iterdir():
        if path.suffix != ".safetensors":
            assert not re.search(r'["\s](/|~)\w', path.read_text()), path.name


def test_its_recipe_is_a_shipped_one():
    assert dump(read_recipe(MODEL)) == dump(load_recipe("prosqa/small"))


def test_it_answers_questions_of_its_task_and_needs_its_thoughts(opened):
    task = opened.recipe.task.model_copy(update={"test_rows": 40})
    right = wrong = 0
    for example in task.examples("test")[0]:
        question = " ".join((*example.premises, example.question))
        right += ask(opened, question, num_thoughts=len(example.steps)).answer == example.answer
        wrong += ask(opened, question, num_thoughts=0).answer != example.answer
    assert right >= 35
    assert wrong >= 12


def test_the_figures_of_the_card_are_those_that_were_measured():
    text = (MODEL / CARD).read_text()
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| .* \| .*\d", line)]
    assert [(value, n) for _, value, n, _ in cells] == measured()
    summary = read_summary(MODEL)
    assert f"{summary['num_parameters']:,} parameters" in text
    assert f"{summary['step']:,} steps" in text


def test_the_head_of_the_card_is_one_of_hugging_face_with_the_same_figures():
    card = ModelCard.load(MODEL / CARD)
    results = read_json(ROOT / "results" / f"eval-{NAME}.json")
    assert [each.metric_value for each in card.data.eval_results] == [
        results["accuracy"],
        results["accuracy_without_thoughts"],
    ]
    assert card.data.model_name == NAME


def test_what_the_card_shows_is_what_is_printed(elsewhere, capsys):
    (shown,) = (block for block in blocks(MODEL / CARD) if block.language == "console")
    command, _, output = shown.text.partition("\n")
    question = re.search(r'"(.*?)"', command).group(1)
    words = command.removeprefix("$ unspoken ").replace(f'"{question}"', "QUESTION").split()
    assert main([question if word == "QUESTION" else word for word in words]) == 0
    assert capsys.readouterr().out.strip() == output.strip()


@pytest.mark.parametrize("verb", ["eval", "audit", "inspect", "report"])
@pytest.mark.parametrize("run", [NAME, str(MODEL), f"{MODEL}/../{NAME}"])
def test_what_writes_into_a_run_wants_a_copy(elsewhere, capsys, verb, run):
    before = held()
    assert main([verb, run]) == 2
    assert "copy it with `unspoken demo --pretrained`" in capsys.readouterr().err
    assert held() == before
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "write",
    [
        lambda run: evaluate(run, split="test"),
        lambda run: evaluate_many(run, trajectories=2),
        lambda run: audit(run, rows=2),
        lambda run: inspect(run, rows=2),
        lambda run: write_report([run], run / "report.html"),
        lambda run: train(load_recipe("hops/coconut"), run, resume=True),
    ],
    ids=["evaluate", "evaluate_many", "audit", "inspect", "write_report", "train"],
)
@pytest.mark.parametrize("run", [MODEL, MODEL / ".." / NAME])
def test_functions_that_write_into_a_run_want_a_copy_too(write, run):
    before = held()
    with pytest.raises(CheckpointError, match=r"comes with Unspoken, and nothing is written into it; copy it with"):
        write(run)
    assert held() == before


def test_a_report_about_it_is_written_elsewhere(tmp_path):
    assert write_report([MODEL], tmp_path / "report.html").is_file()


def test_a_directory_of_its_name_comes_first(elsewhere):
    assert run_to_read(NAME) == MODEL
    own = elsewhere / NAME
    own.mkdir()
    assert run_to_read(NAME) == run_to_write(NAME) == Path(NAME)
    assert run_to_read("other") == run_to_write("other") == Path("other")


def test_a_copy_is_an_ordinary_run(tmp_path):
    run = copy_pretrained(NAME, tmp_path / "run")
    assert open_run(run).summary == read_summary(MODEL)
    assert run_to_write(run) == run
    with pytest.raises(CheckpointError, match="is there already; choose another directory"):
        copy_pretrained(NAME, run)


def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"called 'prosqa-smal'; did you mean prosqa-small\?"):
        copy_pretrained("prosqa-smal", tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"called 'x'; there are prosqa-small"):
        copy_pretrained("x", tmp_path / "run")


@pytest.mark.slow
def test_the_demo_studies_a_copy_on_as_many_rows_as_it_is_told(tmp_path):
    page = demo_pretrained(tmp_path, rows=8).read_text(encoding="utf-8")
    assert {'id="results"', 'id="audit"', 'id="inspection"'} <= set(re.findall(r'id="\w+"', page))
    results = read_json(tmp_path / "results.json")
    assert results["methods"][NAME]["n"] == 8
    assert set(results["methods"][NAME]["controls"]) == {"zero", "mean", "another_row"}
    assert read_json(tmp_path / NAME / "audit.json")["n"] == 8
    assert read_json(tmp_path / NAME / "inspection.json")["n"] == 8
    assert "8 of 1,000 test rows" in table(results)


def test_the_demo_refuses_rows_that_are_not_there(tmp_path, capsys):
    with pytest.raises(RecipeError, match="rows: 1001 of 1,000 test rows; give 2 to 1,000"):
        demo_pretrained(tmp_path, rows=1001)
    assert main(["demo", "--rows", "5"]) == 2
    assert "rows: it is about --pretrained" in capsys.readouterr().err


def test_it_is_in_the_wheel(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    for name in ("src", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (built,) = wheel.WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    packed = {name for name in zipfile.ZipFile(built).namelist() if "/pretrained/" in name}
    assert packed == {
        "unspoken/pretrained/__init__.py",
        *(f"unspoken/pretrained/{NAME}/{path.name}" for path in MODEL.iterdir()),
    }
