"""Captions measured: against references, against images, and against each other on the same rows."""

from unspoken.evaluation.captions.measure import Captions, Written, measure, table

__all__ = ["Captions", "Written", "measure", "table"]
