"""The files of the released Coconut, translated: its YAML settings and its weights."""

from unspoken.legacy.translate import Translation, is_legacy, translate
from unspoken.legacy.weights import import_checkpoint

__all__ = ["Translation", "import_checkpoint", "is_legacy", "translate"]
