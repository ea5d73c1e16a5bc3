"""`from unspoken import ...`, and the tools of Hugging Face on a trained run: they think without knowing it."""

import subprocess
import sys
from functools import partial
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, pipeline

import unspoken
from unspoken.answer import ask
from unspoken.data.collate import collate
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens
from unspoken.run_directory import open_run

RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 16, "validation_rows": 4, "test_rows": 2},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32, "init_std": 0.5},
    "method": {"name": "coconut", "max_stage": 3, "epochs_per_stage": 0},
    "train": {"epochs": 1, "batch_size": 16, "save": "end"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    overrides = [f"{section}.{key}={value}" for section, keys in RECIPE.items() for key, value in keys.items()]
    (folder / "recipe.yaml").write_text("task: {name: hops}\nmethod: {name: coconut}\n")
    recipe = unspoken.load_recipe(folder / "recipe.yaml", overrides)
    return unspoken.train(recipe, folder / "run")


def questions(run):
    task = open_run(run).recipe.task
    return [" ".join([*example.premises, example.question]) for example in task.examples("validation")[0]]


def python(*programs, argument=""):
    """The words that each program prints in a process of its own; they run side by side."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(argument)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for code in programs
    ]
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]
        printed.append(out.split())
    return printed


def test_every_public_name_can_be_imported_and_is_what_it_says():
    assert unspoken.__all__ == sorted(unspoken.__all__)
    for name in unspoken.__all__:
        namespace = {}
        exec(f"from unspoken import {name}", namespace)
        assert callable(namespace[name])
        assert namespace[name].__module__.startswith("unspoken.")
    assert unspoken.load is open_run


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'unspoken' has no attribute 'trian'"):
        unspoken.trian  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'trian'"):
        exec("from unspoken import trian")


def test_importing_the_package_waits_for_neither_torch_nor_transformers():
    heavy = ("torch", "transformers", "numpy", "pydantic", "yaml", "peft", "accelerate")
    code = f"import sys, unspoken\nprint(unspoken.__version__, *[name for name in {heavy!r} if name in sys.modules])"
    assert python(code) == [[unspoken.__version__]]


OPEN = """
import torch
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = torch.tensor([[7, 8, 4, 4, 9]])
print(type(model).__name__, model(input_ids=ids).num_passes, 'unspoken.training' in sys.modules)
"""


def test_the_auto_class_opens_a_run_imported_before_or_after_the_package(run):
    before = "import sys\nfrom transformers import AutoModelForCausalLM\nimport unspoken"
    after = "import sys\nimport unspoken\nfrom transformers import AutoModelForCausalLM"
    between = "import sys, transformers\nimport unspoken\nfrom transformers import AutoModelForCausalLM"
    printed = python(*(imports + OPEN for imports in (before, after, between)), argument=run)
    assert printed == [["LatentForCausalLM", "3", "False"]] * 3


def count_passes(model):
    """A list that grows by the number of new columns of each pass of the decoder."""
    passes = []
    model.model.language_model.register_forward_hook(
        lambda module, arguments, named, output: passes.append(output.last_hidden_state.size(1)), with_kwargs=True
    )
    return passes


@pytest.mark.parametrize("thoughts", [None, 0, 1, 5])
def test_the_pipeline_thinks_as_the_template_says_and_answers_like_ask(run, thoughts):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run), AutoTokenizer.from_pretrained(run)
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
    passes = count_passes(model)
    settings = {} if thoughts is None else {"tokenizer_encode_kwargs": {"n_latent": thoughts}}
    for question in questions(run):
        passes.clear()
        (written,) = generate([{"role": "user", "content": question}], max_new_tokens=3, do_sample=False, **settings)
        expected = ask(open_run(run), question, num_thoughts=thoughts, max_new_tokens=3)
        assert written["generated_text"][-1]["content"].split() == expected.text.split()
        # one pass for each thought, one that ends with the first word, one for each further word
        assert len(passes) == expected.num_passes
        assert len(expected.thoughts) == (3 if thoughts is None else thoughts)


def test_the_pipeline_answers_many_questions_as_it_answers_each(run):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run), AutoTokenizer.from_pretrained(run)
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
    chats = [[{"role": "user", "content": question}] for question in questions(run)]
    together = generate(chats, max_new_tokens=3, do_sample=False, batch_size=4)
    alone = [generate(chat, max_new_tokens=3, do_sample=False) for chat in chats]
    assert together == alone


def test_the_trainer_of_transformers_trains_it(run, tmp_path):
    opened = open_run(run)
    model, tokens = opened.model.train(), thought_tokens(opened.tokenizer)
    rows = tokenize(opened.recipe.task.examples("train")[0], opened.recipe.task.text, opened.tokenizer)
    staged = [opened.recipe.method.layout(row, opened.stage, tokens, Random(row.id)) for row in rows]
    join = partial(collate, pad_id=opened.tokenizer.pad_token_id)
    with torch.no_grad():
        expected = model(**join(staged)).loss.item()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=4, logging_steps=1,
            learning_rate=0.01, remove_unused_columns=False, report_to="none", save_strategy="no", disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=staged,
        data_collator=join,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 1
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-5)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(before)
    with torch.no_grad():
        assert model(**join(staged)).loss.item() < expected
