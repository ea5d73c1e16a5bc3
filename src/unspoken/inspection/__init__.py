"""`unspoken inspect`: what thoughts hold. Each analysis is a function of arrays; `inspect` runs them on a run."""

from unspoken.inspection.inspect import inspect

__all__ = ["inspect"]
