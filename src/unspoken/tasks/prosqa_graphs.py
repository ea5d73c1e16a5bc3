"""The random graphs of ProsQA: two families that grow side by side, a question about the deeper one.

The released graphs do not come from the algorithm printed in arXiv:2412.06769, which gives fewer edges and more nodes
without parents. What follows gives the released statistics; `tests/unit/tasks/test_prosqa.py` lists both.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from unspoken.config import NonNegative, Probability, Settings
from unspoken.records import Graph
from unspoken.tasks.chance import choose
from unspoken.tasks.graph import distances, shortest_paths


class ProsQAGraphs(Settings):
    """A distribution of graphs. The defaults are those of the released data."""

    max_nodes: Annotated[int, Field(ge=4, le=200)] = 28
    """Nodes drawn for a graph; those that end without any edge are dropped."""
    min_hops: PositiveInt = 3
    """Fewest steps from the root to the target; questions with fewer are left out."""
    max_hops: PositiveInt = 6
    """Most steps from the root to the target; questions with more are left out."""
    mean_parents: Annotated[float, Field(gt=0, le=10)] = 1.5
    """Mean of the Poisson distribution of a node's parents."""
    pool_thresholds: tuple[Probability, Probability] = (0.35, 0.80)
    """A uniform number up to the first: parents come from the first family only; up to the second: from the second
    family only; above: from all nodes. The paper prints 0.70 for the second, which does not give the released data."""
    depth_weight: NonNegative = 1.5
    """A parent at depth d is chosen with weight 1 + depth_weight x d: the larger, the longer the chains."""

    equal_depth: bool = False
    """Take only distractors as many steps from the founder of their family as the target is from the root. In the
    released data the target is usually the deeper one, which a model can use without searching."""
    min_shortest_paths: PositiveInt = 1
    """Fewest shortest paths from the root to the target; questions with fewer are left out."""

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        if self.min_hops > self.max_hops:
            raise ValueError(f"min_hops is {self.min_hops}, more than max_hops, {self.max_hops}; lower it")
        if self.pool_thresholds[0] > self.pool_thresholds[1]:
            raise ValueError(f"pool_thresholds are {list(self.pool_thresholds)}; give the smaller one first")
        return self

    def draw(self, rng: random.Random) -> Graph | None:
        """Draw one graph, its nodes named by their numbers; None when it holds no question of the wanted length.

        Nodes 0 and 1 found the two families. Every further node draws its parents among those before it and belongs to
        every family that a parent belongs to, so all edges lead from smaller to larger ids. The root is the founder
        whose exclusive leaves (members of its family only, without children) lie deeper; the target is one of its
        deepest exclusive leaves, the distractor any exclusive leaf of the other family: the root never reaches it.
        """
        parents, family = self._grow(rng)
        has_children = {parent for node in parents for parent in node}
        kept = [node for node, above in enumerate(parents) if above or node in has_children]
        leaves = tuple([node for node in kept if family[node] == own and node not in has_children] for own in (1, 2))
        if not all(leaves):
            return None

        new_id = {node: place for place, node in enumerate(kept)}
        edges = tuple((new_id[parent], new_id[node]) for node in kept for parent in parents[node])
        names = tuple(map(str, range(len(kept))))
        # both founders have descendants, so they are kept and still are nodes 0 and 1
        depths = [distances(Graph(names, edges, root=founder, target=founder)) for founder in (0, 1)]
        candidates = [[(depths[own][new_id[leaf]] or 0, new_id[leaf]) for leaf in leaves[own]] for own in (0, 1)]
        deepest = [max(candidates[own])[0] for own in (0, 1)]
        root = choose((0, 1), rng) if deepest[0] == deepest[1] else deepest.index(max(deepest))
        if not self.min_hops <= deepest[root] <= self.max_hops:
            return None
        target = choose([leaf for depth, leaf in candidates[root] if depth == deepest[root]], rng)
        others = candidates[1 - root]
        if self.equal_depth:
            others = [(depth, leaf) for depth, leaf in others if depth == deepest[root]]
            if not others:
                return None
        _, distractor = choose(others, rng)
        graph = Graph(names, edges, root, target, distractor)
        few = self.min_shortest_paths > 1 and len(shortest_paths(graph)) < self.min_shortest_paths
        return None if few else graph

    def _grow(self, rng: random.Random) -> tuple[list[list[int]], list[int]]:
        """Parents and family of each node; a family is a set of bits: 1 the first, 2 the second, 3 both, 0 neither."""
        parents: list[list[int]] = [[], []]
        family, depth = [1, 2], [0, 0]
        members: tuple[list[int], ...] = ([], [0], [1], [])
        numbers = _poisson(self.mean_parents)
        first, second = self.pool_thresholds
        for node in range(2, self.max_nodes):
            wanted = bisect_right(numbers, rng.random())
            draw = rng.random()
            pool: Sequence[int] = members[1] if draw <= first else members[2] if draw <= second else range(node)
            chosen = _sample(pool, [1 + self.depth_weight * depth[parent] for parent in pool], wanted, rng)
            bits = 0
            for parent in chosen:
                bits |= family[parent]
            parents.append(chosen)
            family.append(bits)
            depth.append(1 + min(depth[parent] for parent in chosen) if chosen else 0)
            members[bits].append(node)
        return parents, family


def _sample(items: Sequence[int], weights: list[float], count: int, rng: random.Random) -> list[int]:
    """Up to `count` different items, one after the other, each with probability in proportion to its weight."""
    left = list(items)
    chosen = []
    for _ in range(min(count, len(left))):
        cumulative = list(accumulate(weights))
        place = bisect_right(cumulative, rng.random() * cumulative[-1], hi=len(left) - 1)
        chosen.append(left.pop(place))
        del weights[place]
    return chosen


@lru_cache
def _poisson(mean: float) -> tuple[float, ...]:
    """P(X <= 0), P(X <= 1), ... of a Poisson number X, up to where the rest is lost in rounding."""
    probability = cumulative = math.exp(-mean)
    table = [cumulative]
    while probability > 1e-17 or len(table) < mean:
        probability *= mean / len(table)
        cumulative += probability
        table.append(cumulative)
    return tuple(table)
