"""`train.trainer` takes what no setting of ours decides and what breaks nothing."""

import dataclasses

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
