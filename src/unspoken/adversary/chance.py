"""Chance of an adversary: a function of seed, step and purpose, so that it takes nothing from that of the model.

A run whose adversary has no weight ends in the same bits as one without an adversary, and a resumed one draws what it
would have drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from zlib import crc32

import numpy as np
import torch
from torch import Generator


def number_of(seed: int, step: int, purpose: str) -> int:
    """A seed for one purpose in one step."""
    mixed = np.random.SeedSequence((seed, step, crc32(purpose.encode()))).generate_state(1, dtype=np.uint64)[0]
    return int(mixed) % 2**63


def drawing(seed: int, step: int, purpose: str, device: torch.device) -> Generator:
    """Chance on a device."""
    return Generator(device).manual_seed(number_of(seed, step, purpose))


def choosing(seed: int, step: int, purpose: str) -> Random:
    """Chance of Python."""
    return Random(number_of(seed, step, purpose))


@contextmanager
def apart(seed: int, step: int, purpose: str, device: torch.device) -> Iterator[None]:
    """Dropout inside draws from chance of its own; what is outside goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number_of(seed, step, purpose))
        yield
