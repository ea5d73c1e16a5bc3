"""`unspoken bench`: speed and memory against the plain step, and against the released implementation."""

from unspoken.bench.bench import bench

__all__ = ["bench"]
