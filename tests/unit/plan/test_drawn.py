"""What an adversary has drawn is counted in a plan: how many captions, their time, the memory of learning from them."""

import pytest

from unspoken.files import write_json
from unspoken.plan import plan, render
from unspoken.plan.drawn import drawn_costs
from unspoken.plan.estimate import NOTHING_DRAWN, DrawnCosts, Weights, estimate
from unspoken.plan.shape import Shape
from unspoken.recipe import dump, load_recipe, resolve

SHAPE = Shape("gpt2", 4, 4, 4, 16, 64, 256, vocabulary=100, positions=128, tied=True)
ROWS = 100


def recipe_of(tmp_path, adversary, **sections):
    values = dump(load_recipe("toy_stories/cached"))
    gpt2 = {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 4, "vocab_size": 100, "n_positions": 128}
    write_json(tmp_path / "warm" / "config.json", {"text_config": gpt2, "image_token_id": 6})
    values["task"] |= {"folder": str(tmp_path / "frames"), "train_rows": ROWS, "validation_rows": 4, "test_rows": 2}
    values["model"] |= {"path": str(tmp_path / "warm")}
    values |= {"adversary": adversary, "train": {"epochs": 1, "batch_size": 8}, "evaluate": {"batch_size": 6}}
    for section, settings in sections.items():
        values[section] |= settings
    return resolve(values, "test")


COUNTED = [
    ({"signal": "embedding"}, (100, 26)),
    ({"signal": "straight_through", "every": 3}, (40, 10)),
    ({"signal": "embedding", "every": 50}, (8, 2)),
    ({"signal": "embedding", "fakes": "cached", "cached_rows": 20}, (20, 4)),
    ({"signal": "embedding", "fakes": "cached", "cached_rows": 2000}, (100, 17)),
    ({"signal": "policy_gradient", "samples": 3}, (300, 13)),
]


@pytest.mark.parametrize(("adversary", "expected"), COUNTED, ids=str)
def test_captions_of_an_epoch_and_the_batches_in_which_they_are_drawn(adversary, expected, tmp_path):
    """13 steps of 8 of the 100 rows; 6 captions are drawn at once, those that are compared with each other all."""
    recipe = recipe_of(tmp_path, adversary, evaluate={"max_new_tokens": 9})
    costs = drawn_costs(recipe, ROWS)
    assert (costs.captions, costs.batches) == expected
    assert costs.words == 9
    assert costs.learned == adversary.get("samples", 0)


def test_where_there_is_no_adversary_nothing_is_drawn():
    assert drawn_costs(load_recipe("hops/coconut"), ROWS) == NOTHING_DRAWN


WEIGHTS = Weights(loaded=1000, trained=1000, saved=1000)


def estimated(drawn=NOTHING_DRAWN, *, stages=((1, 30.0, 10.0, 2),), rows=ROWS, steps=13, **kwargs):
    return estimate(
        SHAPE, rows=rows, micro=8, processes=1, steps_per_epoch=steps, stages=stages, sequential=True, half=False,
        recomputed=False, weights=WEIGHTS, drawn=drawn, **kwargs,
    )  # fmt: skip


def test_a_caption_that_is_drawn_takes_the_forward_third_of_a_row_that_is_learned():
    """Rows of 30 positions, 10 of them words, are as long as captions of 10 words behind their prompts."""
    plain, half_again = estimated().seconds, estimated(DrawnCosts(captions=150, words=10)).seconds
    overhead = estimated(rows=0).seconds
    assert half_again - overhead == pytest.approx(1.5 * (plain - overhead))


def test_a_batch_that_is_drawn_takes_a_pass_a_token():
    """Twelve passes for nine words and two thoughts: as much as four passes with their backward passes."""
    base, drawn = estimated(rows=0, steps=0), estimated(DrawnCosts(batches=10, words=9), rows=0, steps=0)
    assert base.seconds == 0
    assert drawn.seconds == pytest.approx(estimated(rows=0, steps=10 * 12 / 9).seconds)


def test_captions_that_are_learned_from_take_time_and_memory_of_rows():
    """Two captions of each row, as long as the rows: a third of them to draw, all of them and another run to learn."""
    learned, plain = estimated(DrawnCosts(200, 13, 10, learned=2)), estimated()
    only_drawn = estimated(DrawnCosts(200, 13, 10))
    rows, steps = estimated(steps=0).seconds, estimated(rows=0).seconds
    assert learned.seconds - only_drawn.seconds == pytest.approx(2 * rows + steps)
    fixed = 2 * plain.smaller[0][1] - plain.memory
    assert learned.memory - fixed == pytest.approx(3 * (plain.memory - fixed))
    assert only_drawn.memory == plain.memory
    assert learned.smaller == (), "its rows are never cut"


def test_a_plan_counts_what_is_drawn_and_says_what_it_does_not_count(tmp_path):
    drawn = plan(recipe_of(tmp_path, {"signal": "policy_gradient", "samples": 3}))
    alone = plan(recipe_of(tmp_path, None))
    assert drawn.estimate.seconds > 2 * alone.estimate.seconds
    assert drawn.estimate.memory > alone.estimate.memory
    text = " ".join(render(drawn).split())
    words = drawn.recipe.task.max_new_tokens
    assert f"24 captions are drawn a step, of at most {words} tokens; they are in the estimate as if all" in text
    assert "that long, the judge is not" in text
