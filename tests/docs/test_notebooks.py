"""Notebooks run from top to bottom, and lie in the repository without outputs."""

import json

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests.docs.markdown import DOCS, links

from unspoken.files import read_json

NOTEBOOKS = sorted(path for path in DOCS.rglob("*.ipynb") if "_build" not in path.parts)
IMAGES = DOCS / "notebooks" / "images.ipynb"


def cells(notebook):
    """Of each cell of code its source and its tags."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [
        ("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in found if cell["cell_type"] == "code"
    ]


def execute(notebook, **parameters):
    """The names that the cells leave behind; `parameters` takes the place of values of the cell with that tag."""
    names = {"__name__": "__main__"}
    for number, (source, tags) in enumerate(cells(notebook), 1):
        exec(compile(source, f"{notebook.name}, cell of code {number}", "exec"), names)
        if "parameters" in tags:
            assert parameters.keys() <= names.keys(), "the notebook has other parameters"
            names |= parameters
    return names


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield tmp_path
    plt.close("all")
    matplotlib.use(backend)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_lie_here_without_outputs(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_every_notebook_is_linked_from_a_page():
    linked = {(page.parent / target).resolve() for page in DOCS.glob("*.md") for target in links(page)}
    assert set(NOTEBOOKS) <= linked


def test_the_notebook_on_images_trains_asks_and_shows_where_thoughts_look(elsewhere):
    names = execute(IMAGES, TRAIN_ROWS=16, EPOCHS_PER_STAGE=1)
    assert (elsewhere / "runs" / "notebook-images" / "run.json").is_file()
    assert len(names["thinking"].thoughts) == 2
    assert names["at_once"].thoughts == ()
    maps = names["maps"]
    assert maps.shape == (3, 2, 2)
    assert (maps > 0).all()
    assert (maps.sum(axis=(1, 2)) < 1).all()
    # the picture, then for each who looks the picture and its shade, darkest where the least is looked at
    panels = plt.figure(plt.get_fignums()[-1]).axes
    assert [len(panel.images) for panel in panels] == [1, 2, 2, 2]
    for panel, patches in zip(panels[1:], maps, strict=True):
        shade = panel.images[1].get_alpha()
        assert shade.shape == (32, 32)
        assert np.allclose(shade[8::16, 8::16], 0.75 * (1 - patches / patches.max()))
        assert panel.get_title().endswith(f"{patches.sum():.1%}")


def test_the_notebook_on_images_takes_a_run_that_is_there(elsewhere):
    first = execute(IMAGES, TRAIN_ROWS=16, EPOCHS_PER_STAGE=1)
    trained = read_json(elsewhere / "runs" / "notebook-images" / "run.json")
    again = execute(IMAGES, RUN=elsewhere / "runs" / "notebook-images", SMALL=elsewhere / "never", NUMBER=7)
    assert not (elsewhere / "never").exists()
    assert again["run"].summary == trained
    assert np.array_equal(again["maps"], first["maps"])
    assert again["thinking"] == first["thinking"]
