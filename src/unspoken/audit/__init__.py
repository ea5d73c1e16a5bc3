"""`unspoken audit`: do the thoughts matter? Interventions and controls on the same rows, with paired statistics."""

from unspoken.audit.audit import audit

__all__ = ["audit"]
