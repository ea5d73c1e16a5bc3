"""What the chat template writes, token by token, against what evaluation reads."""

import pytest

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens
from unspoken.methods import METHODS
from unspoken.prepare import build_tokenizer, read_examples, write_chat_template
from unspoken.pretrained import pretrained_models
from unspoken.recipe import resolve
from unspoken.run_directory import open_run

ROWS = {"train_rows": 6, "validation_rows": 1, "test_rows": 1}
HOPS = {"name": "hops", "symbols": 6, "hops": 3, **ROWS}
PROSQA = {"name": "prosqa", **ROWS}
SYMBOLS = {"name": "prosqa", "rendering": "symbols", "max_nodes": 12, "min_hops": 2, "max_hops": 4, **ROWS}
LEARNED = {"model": {"path": "tests/models/hops-coconut"}, "thoughts": {"name": "gaussian"}}

SETTINGS = {
    "cot": [{}],
    "no_cot": [{}],
    "icot": [{}],
    "coconut": [
        {"max_stage": 2},
        {"max_stage": 2, "thoughts_per_step": 2, "mix": 0.5, "markers": False},
        {"max_stage": 6, "pad_thoughts": False},
        {"thoughts_per_step": 0, "markers": False},
    ],
    "superposition": [{"max_stage": 4}],
    **{key: [{"num_thoughts": 3}, {"num_thoughts": 2, "markers": False}] for key in ("ppo", "grpo", "rloo")},
}
CASES = [
    (name, settings, task)
    for name, several in SETTINGS.items()
    for settings in several
    for task in (
        [SYMBOLS] if name == "superposition" else [HOPS] if name in ("ppo", "grpo", "rloo") else [HOPS, PROSQA]
    )
]


def recipe_of(name, settings, task):
    sections = {"task": task, "method": {"name": name, **settings}}
    if name in ("ppo", "grpo", "rloo"):
        critic = {"critic": True} if name == "ppo" else {}
        sections |= {**LEARNED, "thoughts": {**LEARNED["thoughts"], **critic}}
    return resolve(sections, "test")


def chat(tokenizer, example, task, **kwargs):
    content = task.text.premise_separator.join([*example.premises, example.question])
    message = [{"role": "user", "content": content}]
    return tokenizer.apply_chat_template(message, add_generation_prompt=True, **kwargs)["input_ids"]


def test_every_method_that_answers_is_here():
    assert SETTINGS.keys() == METHODS.keys() - {"contrastive"}


@pytest.mark.parametrize(("name", "settings", "task"), CASES, ids=str)
def test_a_chat_is_the_prompt_of_evaluation_at_every_stage(name, settings, task):
    """With the number of thoughts of the row, which is the same for all rows unless their steps decide."""
    recipe = recipe_of(name, settings, task)
    examples, _ = read_examples(recipe.task, "train")
    tokenizer = build_tokenizer(recipe, examples)
    tokens, method = thought_tokens(tokenizer), recipe.method
    rows = tokenize(examples, recipe.task.text, tokenizer)
    by_steps = name == "superposition" or settings.get("pad_thoughts") is False
    for stage in {0, 1, 2, method.final_stage} if method.final_stage else {0}:
        write_chat_template(tokenizer, recipe, stage)
        for example, row in zip(examples, rows, strict=True):
            prompt = method.prompt(row, stage, tokens)
            given = {"n_latent": prompt.num_thoughts} if by_steps else {}
            assert chat(tokenizer, example, recipe.task, **given) == prompt.input_ids.tolist()


@pytest.mark.parametrize(
    ("name", "settings", "task"),
    [("superposition", {"max_stage": 4}, SYMBOLS), ("coconut", {"pad_thoughts": False}, PROSQA)],
)
def test_where_the_steps_of_a_row_decide_the_template_says_so(name, settings, task):
    recipe = recipe_of(name, settings, task)
    examples, _ = read_examples(recipe.task, "train")
    tokenizer = build_tokenizer(recipe, examples)
    assert "{# A question of fewer steps had fewer thoughts" in tokenizer.chat_template
    assert "{#" not in build_tokenizer(recipe_of("coconut", {}, HOPS), []).chat_template


def test_where_the_model_itself_stops_the_template_says_so():
    sections = {"task": HOPS, "method": {"name": "grpo"}, **LEARNED, "thoughts": {"name": "gaussian", "halt_after": 0}}
    recipe = resolve(sections, "test")
    assert "{# In evaluation the model itself stops thinking" in build_tokenizer(recipe, []).chat_template


@pytest.mark.parametrize("name", pretrained_models())
def test_a_chat_with_a_shipped_model_is_the_prompt_of_evaluation(name):
    run = open_run(pretrained_models()[name])
    recipe, tokenizer = run.recipe, run.tokenizer
    examples, _ = read_examples(recipe.task.model_copy(update={"test_rows": 8}), "test")
    for example, row in zip(examples, tokenize(examples, recipe.task.text, tokenizer), strict=True):
        prompt = recipe.method.prompt(row, run.stage, thought_tokens(tokenizer))
        found = chat(tokenizer, example, recipe.task, n_latent=prompt.num_thoughts)
        assert found == prompt.input_ids.tolist()
    write_chat_template(tokenizer, recipe, run.stage)
    assert tokenizer.chat_template == (run.path / "chat_template.jinja").read_text(encoding="utf-8")
