import pytest

from unspoken.catalogue import KINDS, catalogue, render
from unspoken.methods import METHODS
from unspoken.recipe.shipped import recipe_directory, shipped_recipes
from unspoken.tasks import TASKS
from unspoken.thoughts import SOURCES


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_described_in_one_line(kind):
    entries = catalogue(kind)
    assert entries
    for name, text in entries.items():
        assert text, name
        assert "\n" not in text


def test_the_names_are_those_of_the_dicts():
    assert list(catalogue("methods")) == list(METHODS)
    assert list(catalogue("tasks")) == list(TASKS)
    assert list(catalogue("thoughts")) == list(SOURCES)
    assert list(catalogue("recipes")) == list(shipped_recipes())


def test_a_description_is_the_first_sentence():
    assert catalogue("methods")["no_cot"] == "Question, then the answer at once: the lower baseline."


def test_every_recipe_says_how_to_run_it():
    for name, path in shipped_recipes().items():
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert any(f"unspoken train {name}" in line for line in header), name
        assert any("arXiv:" in line or "published" in line or "coconut" in line for line in header), name


def test_recipes_lie_in_the_checkout():
    assert (recipe_directory() / "hops" / "coconut.yaml").is_file()


def test_a_table_has_two_columns():
    assert render({"a": "x", "bcd": "y"}) == "a    x\nbcd  y"


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind"):
        catalogue("models")
