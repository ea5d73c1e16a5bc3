"""Seeds, ranks and rows that travel between processes."""

import json
import multiprocessing
import os
import platform
import random
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
import torch.distributed as dist

from unspoken.device import (
    any_rank,
    barrier,
    best_device,
    environment,
    gather_rows,
    in_group,
    join_processes,
    rank,
    seed_everything,
    world_size,
)

CPU = torch.device("cpu")
ROWS = [
    [
        {"position": 0, "text": "caf\u00e9 \u2028 \U0001f600", "x": 0.1, "none": None},
        {"position": 2, "nested": [[1], {}]},
    ],
    [{"position": 1, "text": "y" * 5000}],
    [],
]


def draws():
    return random.random(), np.random.random(), torch.rand(3).tolist()


def test_one_seed_gives_the_same_numbers_everywhere():
    seed_everything(7)
    first = draws()
    seed_everything(7)
    assert draws() == first
    seed_everything(8)
    second = draws()
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**40])
def test_every_seed_of_a_recipe_is_possible(seed):
    seed_everything(seed)


def test_alone_a_process_is_rank_0_of_1_and_its_rows_are_all_rows(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    join_processes()
    assert (in_group(), rank(), world_size()) == (False, 0, 1)
    assert gather_rows(ROWS[0], CPU) == ROWS[0]
    assert any_rank(True, CPU) is True
    assert any_rank(False, CPU) is False
    barrier()


def test_what_torchrun_announces_is_known_before_anything_is_connected(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (in_group(), rank(), world_size()) == (False, 3, 4)
    assert gather_rows(ROWS[1], CPU) == ROWS[1]


def test_without_an_accelerator_the_device_is_the_cpu():
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def process(index, count, folder):
    """One process of a group: writes what it saw, as JSON."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=index, world_size=count)
    seen = {
        "ranks": [in_group(), rank(), world_size()],
        "rows": gather_rows(ROWS[index], CPU),
        "again": gather_rows([{"rank": index}] * (index + 1), CPU),
        "empty": gather_rows([], CPU),
        "flags": [any_rank(flags[index], CPU) for flags in ([False] * 3, [False, True, False], [True] * 3)],
        "processes": environment()["processes"],
    }
    barrier()
    with open(f"{folder}/{index}.json", "w") as file:
        json.dump(seen, file)
    dist.destroy_process_group()


@pytest.mark.parametrize("count", [2, 3])
def test_every_process_gets_the_rows_of_all_in_order_of_rank(tmp_path, count):
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=process, args=(index, count, str(tmp_path))) for index in range(count)]
    for each in started:
        each.start()
    for each in started:
        each.join(60)
    assert [each.exitcode for each in started] == [0] * count
    for index in range(count):
        seen = json.loads((tmp_path / f"{index}.json").read_text())
        assert seen["ranks"] == [True, index, count]
        assert seen["rows"] == [row for rows in ROWS[:count] for row in rows]
        assert seen["again"] == [{"rank": each} for each in range(count) for _ in range(each + 1)]
        assert seen["empty"] == []
        assert seen["flags"] == [False, True, True]
        assert seen["processes"] == count


def test_the_environment_says_what_a_number_depends_on(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    found = environment()
    for package in ("unspoken", "torch", "transformers", "accelerate", "numpy"):
        assert found["packages"][package] == version(package)
    assert found["python"] == platform.python_version() == ".".join(map(str, sys.version_info[:3]))
    assert (found["system"], found["machine"]) == (platform.system(), platform.machine())
    assert (found["cores"], found["threads"]) == (os.cpu_count(), torch.get_num_threads())
    assert (found["accelerator"] is None) == (not torch.cuda.is_available())
    assert found["processes"] == 1
    json.dumps(found, allow_nan=False)
