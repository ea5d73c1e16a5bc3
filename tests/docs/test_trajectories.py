"""The page on trajectories names every figure that is written, and every way to bring answers together."""

from tests.docs.markdown import DOCS, first_column, section
from tests.unit.trajectories.runs import policy_run

from unspoken.evaluation.many import evaluate_many
from unspoken.trajectories.fusion import FUSIONS

PAGE = DOCS / "trajectories.md"


def test_every_figure_is_explained(tmp_path):
    run = policy_run(tmp_path, method="ppo", critic=True)
    found = evaluate_many(run.path, trajectories=2)
    of_figures = {key for row in found["figures"] for key in row}
    assert set(first_column(section(PAGE, "## Measure"))) == found.keys() | of_figures
    text = section(PAGE, "## Measure")
    for key in (*found["thoughts"][0], *found["siblings"][0], "accuracy", "interval"):
        assert f"`{key}`" in text


def test_every_fusion_is_explained():
    assert first_column(section(PAGE, "## Ask")) == list(FUSIONS)
