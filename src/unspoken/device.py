"""Device, seeds, ranks and the description of the machine, in one place."""

import json
import os
import platform
import random
import sys
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from unspoken.processes import num_processes


def best_device() -> torch.device:
    """The accelerator of this process, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def in_group() -> bool:
    """Whether this process can exchange data with the others: `torchrun` alone announces them but connects none."""
    return dist.is_available() and dist.is_initialized()


def join_processes() -> None:
    """Under torchrun, become one of its processes; alone, nothing."""
    if num_processes() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(minutes=10))
        if torch.cuda.is_available():
            torch.cuda.set_device(best_device())


def rank() -> int:
    """Index of this process among those of the run, connected or only announced by `torchrun`; 0 when it is alone."""
    return dist.get_rank() if in_group() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes of the run, connected or only announced by `torchrun`; 1 when this one is alone."""
    return dist.get_world_size() if in_group() else num_processes()


def shares_parameters() -> bool:
    """Whether processes hold parts of the parameters (FSDP): then all must run the same passes, or wait forever."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def barrier() -> None:
    """Wait for all processes."""
    if in_group():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process."""
    if not in_group():
        return flag
    tensor = torch.tensor([flag], dtype=torch.int32, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item())


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place."""
    if in_group():
        dist.all_reduce(tensor)
    return tensor


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of all processes below each other, in order of rank; their numbers may differ."""
    if not in_group():
        return tensor
    counts = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(tensor)], device=tensor.device))
    longest = int(max(count.item() for count in counts))
    padded = tensor.new_zeros(longest, *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count.item())] for part, count in zip(parts, counts, strict=True)])


def gather_rows(rows: list[dict[str, Any]], device: torch.device) -> list[dict[str, Any]]:
    """The rows of all processes, on all processes, in order of rank. They travel as JSON, never as pickles."""
    if not in_group():
        return rows
    data = torch.tensor(list(json.dumps(rows).encode()), dtype=torch.uint8, device=device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor([len(data)], device=device))
    longest = int(max(length.item() for length in lengths))
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(data)] = data
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    gathered: list[dict[str, Any]] = []
    for part, length in zip(parts, lengths, strict=True):
        gathered += json.loads(bytes(part[: int(length.item())].cpu().tolist()))
    return gathered


def environment() -> dict[str, Any]:
    """What a number depends on besides the recipe: versions, machine, threads, processes."""
    packages = {}
    for name in ("unspoken", "torch", "transformers", "accelerate", "peft", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    cuda = torch.cuda.is_available()
    return {
        "python": sys.version.split()[0],
        "packages": packages,
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "processes": world_size(),
    }
