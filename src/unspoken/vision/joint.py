"""The space that a CLIP has of images and texts: unit vectors of both, made once and kept.

Shapes: E width of the space.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unspoken import files
from unspoken.device import best_device
from unspoken.vision.clip import Clip, open_clip
from unspoken.vision.encoder import fingerprint_of
from unspoken.vision.features import Features, kept_features
from unspoken.vision.images import ImageFacts, open_image

logger = logging.getLogger(__name__)

SAID = ("image", "caption")
"""The vectors of an image of which something is said, in the order of `Said.array`."""


@dataclass(frozen=True, slots=True, eq=False)
class JointSpace:
    """A frozen CLIP with its cache.

    Attributes:
        clip: The CLIP.
        cache: Folder of all caches.
        size: E.
        fingerprint: Equal for equal vectors: sha256 of its weights, preprocessing and tokenizer.
    """

    clip: Clip
    cache: Path
    size: int
    fingerprint: str

    def images(self, facts: Sequence[ImageFacts]) -> Mapping[str, Features]:
        """The vectors of images, (1, E) each, by the sha256 of their files.

        Raises:
            DataError: A file is another one than when it was checked, or a shard of the cache is damaged.
        """

        def encode(few: Sequence[ImageFacts]) -> Tensor:
            return self.clip.images([self.clip.pixels(open_image(each.path, each)) for each in few])[:, None]

        return kept_features({each.sha256: each for each in facts}, encode, self._folder("joint"), (1, self.size))

    def texts(self, texts: Iterable[str]) -> Mapping[str, Features]:
        """The vectors of texts, (1, E) each, by the texts; of one that is too long for the CLIP, that of its beginning.

        Raises:
            DataError: A shard of the cache is damaged.
        """
        fitted = {text: self.clip.fit(text) for text in dict.fromkeys(texts)}
        if cut := sum(is_cut for _, is_cut in fitted.values()):
            logger.warning("%d of %d texts are longer than the CLIP reads: of those their beginning", cut, len(fitted))
        names = {text: sha256(known.encode()).hexdigest() for text, (known, _) in fitted.items()}

        def encode(few: Sequence[str]) -> Tensor:
            return self.clip.texts(few)[:, None]

        named = {names[text]: known for text, (known, _) in fitted.items()}
        found = kept_features(named, encode, self._folder("texts"), (1, self.size))
        return {text: found[name] for text, name in names.items()}

    def _folder(self, kind: str) -> Path:
        return self.cache / files.sha256_of([self.fingerprint, kind])[:32]


def open_space(path: str, revision: str | None, cache: Path) -> JointSpace:
    """The space of the CLIP at a path.

    Args:
        path: A Hugging Face id or folder, or a run of method `contrastive`.
        revision: Commit or tag of an id.
        cache: Folder of all caches.

    Raises:
        CheckpointError: There is no CLIP.
    """
    clip = open_clip(path, revision)
    clip.model.requires_grad_(False).to(best_device())
    print_of_model = fingerprint_of(clip.model, clip.processor)
    fingerprint = files.sha256_of([print_of_model, clip.tokenizer.get_vocab()])
    return JointSpace(clip, cache, int(clip.model.config.projection_dim), fingerprint)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """An image and what is said of it; an `ImageInput`.

    Attributes:
        image: Its vector, (1, E).
        caption: That of its caption, (1, E).
    """

    image: Features
    caption: Features

    def array(self) -> npt.NDArray[np.float32]:
        """See `ImageInput.array`; (2, E)."""
        return np.concatenate([self.image.array(), self.caption.array()])
