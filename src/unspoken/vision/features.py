"""Features of images, encoded once and kept: a frozen encoder runs over each file a single time.

A cache is a folder of shards, one for each batch of new images: `<key>/<images>.safetensors` with the features and, in
its metadata, the sha256 of each file in order; `<images>` is the sha256 of that list, so that two runs which fill one
cache at once never replace different shards. The key is the fingerprint of encoder, preprocessing and kind of features.
A shard counts when it has its name, so an interrupted run loses the batch it was at and nothing else.

Shapes: N images, P patches, F width of a feature.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from unspoken import files
from unspoken.errors import DataError
from unspoken.model.vision import encode
from unspoken.progress import progress_bar
from unspoken.vision.encoder import Encoder
from unspoken.vision.images import ImageFacts, open_image

ItemT = TypeVar("ItemT")

SHARD = 512
"""Images encoded and written together."""
FEATURES, NAMES = "features", "sha256"


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of one image; an `ImageInput`.

    Attributes:
        shard: Those of its shard, (N, P, F).
        row: Its row.
    """

    shard: npt.NDArray[np.float32]
    row: int

    def array(self) -> npt.NDArray[np.float32]:
        """See `ImageInput.array`."""
        features: npt.NDArray[np.float32] = self.shard[self.row]
        return features


def features_of(
    encoder: Encoder,
    facts: Sequence[ImageFacts],
    cache: Path,
    device: torch.device | str,
) -> Mapping[str, Features]:
    """The features of images, by the sha256 of their files; those that are not in the cache are encoded and added.

    Args:
        encoder: Frozen.
        facts: What is known of the files.
        cache: Folder of all caches.
        device: Where the encoder runs.

    Raises:
        DataError: A shard is damaged, or a file is another one than when it was checked.
    """
    kind = "pooled" if encoder.pooled else "patches"
    return kept_features(
        {each.sha256: each for each in facts},
        lambda few: _encode(encoder, few, device),
        cache / files.sha256_of([encoder.fingerprint, kind])[:32],
        (encoder.num_patches, encoder.feature_size),
    )


def kept_features(
    wanted: Mapping[str, ItemT],
    encode: Callable[[Sequence[ItemT]], torch.Tensor],
    folder: Path,
    shape: tuple[int, int],
) -> Mapping[str, Features]:
    """The features of things, by the names of these; those that are not in the cache are encoded and added.

    Args:
        wanted: The things, each by the sha256 of its content.
        encode: Makes features of some of them, (N, P, F).
        folder: The cache of this encoder.
        shape: (P, F).

    Raises:
        DataError: A shard is damaged.
    """
    known = _read(folder, shape, wanted)
    new = [name for name in wanted if name not in known]
    with progress_bar("features") as advance:
        for start in range(0, len(new), SHARD):
            names = new[start : start + SHARD]
            _write(folder, names, encode([wanted[name] for name in names]))
            advance("encoding", start + len(names), len(new))
    if new:
        known = _read(folder, shape, wanted)
    return {name: known[name] for name in wanted}


@torch.no_grad()
def _encode(encoder: Encoder, facts: Sequence[ImageFacts], device: torch.device | str) -> torch.Tensor:
    """(N, P, F)."""
    model = encoder.model.to(device)
    found = []
    for start in range(0, len(facts), 64):
        pixels = [encoder.pixels(open_image(each.path, each)) for each in facts[start : start + 64]]
        found.append(encode(model, torch.from_numpy(np.stack(pixels)).to(device), pooled=encoder.pooled).float().cpu())
    return torch.cat(found)


def _write(folder: Path, names: Sequence[str], features: torch.Tensor) -> None:
    data = save({FEATURES: features.contiguous()}, metadata={NAMES: json.dumps(list(names))})
    files.write_bytes(folder / f"{files.sha256_of(list(names))}.safetensors", data)


def _read(folder: Path, shape: tuple[int, int], wanted: Collection[str]) -> dict[str, Features]:
    """What the cache has of the wanted things; shards with none of them are left on the disk."""
    found: dict[str, Features] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as shard:
                names = json.loads(shard.metadata()[NAMES])
                if not any(name in wanted for name in names):
                    continue
                features = shard.get_tensor(FEATURES)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it, and its images are encoded again") from error
        if features.shape != (len(names), *shape):
            raise DataError(
                f"{path} holds features of shape {features.shape}; delete it, and its images are encoded again"
            )
        found |= {name: Features(features, row) for row, name in enumerate(names)}
    return found
