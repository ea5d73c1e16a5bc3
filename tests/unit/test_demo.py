"""The demo on recipes of a few seconds: every run, the audits, the inspection, the report; and a command that fails."""

import pytest

from unspoken import demo as module
from unspoken.demo import DemoError, demo, table
from unspoken.files import read_json

RECIPE = """
task: {{name: hops, symbols: 6, hops: 2, train_rows: 32, validation_rows: 4, test_rows: 30}}
model: {{layers: 1, heads: 2, width: 16, max_positions: 32}}
method: {{name: {method}}}
{rest}
train: {{epochs: 1, batch_size: 16, save: end}}
evaluate: {{max_new_tokens: 3}}
"""


@pytest.fixture
def methods(tmp_path, monkeypatch):
    """The recipes of the demo, replaced by tiny ones."""
    texts = {
        "coconut": RECIPE.format(method="coconut, max_stage: 2, epochs_per_stage: 0", rest=""),
        "pause": RECIPE.format(method="coconut, max_stage: 2, epochs_per_stage: 0", rest="thoughts: {name: pause}"),
        "no_cot": RECIPE.format(method="no_cot", rest=""),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    methods = {name: str(tmp_path / f"{name}.yaml") for name in texts}
    monkeypatch.setattr(module, "METHODS", methods)
    return methods


def test_the_demo_trains_evaluates_audits_inspects_and_reports(methods, tmp_path):
    out = tmp_path / "demo"
    report = demo(out)
    page = report.read_text(encoding="utf-8")
    assert {'id="results"', 'id="audit"', 'id="inspection"', 'id="training"'} <= {
        part for part in page.replace(">", " ").split() if part.startswith("id=")
    }
    results = read_json(out / "results.json")
    assert set(results["methods"]) == set(methods)
    assert set(results["necessity"]) == {"coconut", "pause"}
    assert read_json(out / "pause" / "audit.json")["command"] == f"unspoken audit {out / 'pause'}"
    compared = read_json(out / "coconut" / "audit.json")["comparisons"]
    assert [each["run"] for each in compared] == [str(out / "pause"), str(out / "no_cot")]
    lines = table(results).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["coconut", "pause", "no_cot", "coconut:", "pause:"]


def test_a_command_that_fails_is_named_with_the_end_of_its_log(methods, tmp_path, monkeypatch):
    broken = tmp_path / "broken.yaml"
    broken.write_text(RECIPE.format(method="no_cot", rest="") + "model: {}\n")
    monkeypatch.setattr(module, "_steps", lambda recipe: 1)
    monkeypatch.setattr(module, "METHODS", {"no_cot": str(broken)})
    with pytest.raises(
        DemoError,
        match=r"no_cot ended with exit code 2; the end of .*no_cot.log:\n(?s:.*)the key 'model' stands there again",
    ):
        demo(tmp_path / "demo")
