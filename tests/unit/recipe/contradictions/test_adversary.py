"""The section `adversary`: absent by default, written out when it is there, refused where it makes no sense."""

import pytest

from unspoken.config import AdversarySettings
from unspoken.errors import RecipeError
from unspoken.recipe import dump, override, resolve, sparse

WARM = {
    "task": {"name": "toy_stories"},
    "model": {"path": "runs/warm", "embedding_heads": {"space": "runs/clip"}},
    "method": {"name": "no_cot"},
}


def recipe(adversary=None, **sections):
    values = {**WARM, **sections}
    return resolve(values if adversary is None else {**values, "adversary": adversary}, "r.yaml")


def problem(adversary, **sections):
    with pytest.raises(RecipeError) as error:
        recipe(adversary, **sections)
    (found,) = error.value.problems
    return found


def test_without_the_section_there_is_no_adversary():
    plain = recipe()
    assert plain.adversary is None
    assert dump(plain)["adversary"] is None
    assert "adversary" not in sparse(plain)
    assert resolve(dump(plain), "r.yaml") == plain == resolve(sparse(plain), "r.yaml")


def test_with_the_section_it_survives_being_written_and_overridden():
    judged = recipe({})
    assert judged.adversary == AdversarySettings()
    assert sparse(judged)["adversary"] == {"signal": "embedding"}
    changed = override(recipe(), ["adversary.signal=straight_through", "adversary.weight=0.5"])
    assert sparse(changed)["adversary"] == {"signal": "straight_through", "weight": 0.5}
    assert resolve(dump(changed), "r.yaml") == changed == resolve(sparse(changed), "r.yaml")
    assert override(changed, ["adversary=null"]) == recipe()
    assert "signal: straight_through" in changed.source


@pytest.mark.parametrize(
    "adversary",
    [
        {"signal": "policy_gradient", "samples": 8},
        {"signal": "policy_gradient", "negatives": "generated_and_hard"},
        {"signal": "policy_gradient", "judge": "clip_margin"},
        {"signal": "embedding", "fakes": "cached", "cached_rows": 20},
        {"signal": "embedding", "negatives": "generated_and_hard", "feature_matching": 0.1},
        {"signal": "straight_through", "fakes": "cached", "negatives": "generated_and_hard", "feature_matching": 0.05},
        {"signal": "straight_through", "weight": 0.0},
    ],
)
def test_what_makes_sense_is_taken(adversary):
    assert recipe(adversary).adversary == AdversarySettings(**adversary)


@pytest.mark.parametrize(
    ("adversary", "text"),
    [
        ({"signal": "policy_gradient", "fakes": "cached"}, "adversary.fakes: policy_gradient draws captions at every"),
        ({"signal": "policy_gradient", "feature_matching": 0.1}, "adversary.feature_matching: captions that were"),
        ({"judge": "clip_margin"}, "adversary.judge: the margin is a reward, and embedding needs a judge with a grad"),
        ({"samples": 8}, "adversary.samples: only policy_gradient draws several captions of a row; take it out"),
        ({"cached_rows": 8}, "adversary.cached_rows: fakes are fresh, none are kept; take it out"),
        (
            {"signal": "policy_gradient", "judge": "clip_margin", "width": 64},
            "adversary.width: clip_margin judges without a discriminator; take it out",
        ),
        ({"signal": "gan"}, "adversary.signal: it must be 'policy_gradient', 'straight_through' or 'embedding'; found"),
        ({"colour": 1}, "adversary.colour: unknown key; known are signal, fakes, negatives"),
    ],
)
def test_what_makes_none_is_refused(adversary, text):
    assert problem(adversary).startswith(text)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"model": {"embedding_heads": {"space": "c"}}}, "model.path: a discriminator tells a model that cannot write"),
        ({"model": {"path": "runs/warm"}}, "model.embedding_heads: an adversary needs the space of images and texts"),
        ({"train": {"micro_batch_size": 4, "batch_size": 8}}, "train.micro_batch_size: a discriminator sees all rows"),
        ({"train": {"precision": "fp16"}}, "train.precision: fp16 would need scaled losses, also of the discriminator"),
        (
            {"thoughts": {"name": "gaussian"}, "method": {"name": "coconut"}},
            "thoughts.name: gaussian draws thoughts, and an adversary judges words alone; choose a source without",
        ),
    ],
)
def test_what_does_not_fit_beside_it_is_refused(sections, text):
    assert problem({}, **sections).startswith(text)


def test_it_is_for_captions_and_the_supervised_loss():
    with pytest.raises(RecipeError, match="adversary: it judges captions of a next image, and the answers of hops are"):
        recipe({}, task={"name": "hops"})
    with pytest.raises(RecipeError, match="adversary: it stands beside the supervised loss, which grpo does not have"):
        recipe({}, method={"name": "grpo"}, thoughts={"name": "gaussian"})
