"""`train.trainer` takes what no setting of ours decides and what breaks nothing."""

import dataclasses
from types import SimpleNamespace

import pytest
from tests.unit.recipe.judged import accepted, problem
from transformers import TrainingArguments

from unspoken.recipe.contradictions.trainer_fields import OWNED, REFUSED, training_arguments


def test_workers_persist_anyway():
    found = problem(train={"trainer": {"dataloader_persistent_workers": True}})
    assert "workers are started once and told of every epoch; remove it" in found
    accepted(train={"trainer": {"dataloader_persistent_workers": False}})


@pytest.mark.parametrize("field", ["gradient_checkpointing", "activation_checkpointing"])
def test_the_librarys_checkpointing_is_refused_in_favour_of_ours(field):
    assert "set model.checkpoint_passes: true instead" in problem(train={"trainer": {field: True}})


@pytest.mark.parametrize(("field", "ours"), OWNED.items())
def test_a_field_that_a_setting_decides_names_the_setting(field, ours):
    assert problem(train={"trainer": {field: 1}}) == f"train.trainer.{field}: {ours} decides this; use that"


def test_a_field_that_does_not_exist_is_refused():
    assert "no such field; did you mean fsdp?" in problem(train={"trainer": {"fsdpp": "full_shard"}})
    accepted(train={"trainer": {"fsdp": "full_shard", "torch_compile": False}})


def test_the_field_names_read_from_the_source_are_those_of_the_class():
    assert training_arguments() == {field.name for field in dataclasses.fields(TrainingArguments)}


def test_fields_that_are_ours_or_refused_exist_or_once_did():
    removed = {"warmup_ratio", "group_by_length"}
    assert ({*OWNED, *REFUSED} - training_arguments()) <= removed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label_smoothing_factor", 0.1),
        ("ignore_data_skip", True),
        ("save_only_model", True),
        ("enable_jit_checkpoint", True),
        ("logging_nan_inf_filter", True),
        ("disable_tqdm", True),
    ],
)
def test_what_breaks_training_or_resuming_is_refused_and_its_default_is_not(field, value):
    assert problem(train={"trainer": {field: value}}) == f"train.trainer.{field}: {REFUSED[field]}"
    accepted(train={"trainer": {field: type(value)(0)}})


def test_every_field_that_we_set_is_ours_or_refused_or_may_be_set_otherwise(monkeypatch, tmp_path):
    from unspoken.recipe.batching import split_batch
    from unspoken.training import supervised

    told = {}
    monkeypatch.setattr(
        supervised, "TrainingArguments", lambda **fields: told.update(fields) or SimpleNamespace(n_gpu=1)
    )
    recipe = accepted()
    supervised.arguments(recipe, tmp_path, split_batch(recipe.train, 1), ddp_find_unused_parameters=True)
    assert told.keys() - {*OWNED, *REFUSED} == {"use_cpu", "ddp_find_unused_parameters"}


@pytest.mark.parametrize("field", ["use_cpu", "ddp_find_unused_parameters", "remove_unused_columns", "disable_tqdm"])
def test_what_may_be_set_otherwise_is(field, tmp_path):
    from unspoken.recipe.batching import split_batch
    from unspoken.training import supervised

    for value in (True, False) if field not in REFUSED else (False,):
        recipe = accepted(train={"trainer": {field: value}})
        arguments = supervised.arguments(
            recipe, tmp_path, split_batch(recipe.train, 1), ddp_find_unused_parameters=not value
        )
        assert getattr(arguments, field) is value
