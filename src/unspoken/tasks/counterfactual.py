"""The smallest change of a graph that changes the answer: one edge leads elsewhere."""

from collections.abc import Iterator
from dataclasses import replace

from unspoken.records import Graph
from unspoken.tasks.graph import reachable

Redirection = tuple[int, int]
"""Index of the edge in `Graph.edges`, and the node that it leads to instead."""


def redirected(graph: Graph, change: Redirection) -> Graph:
    """The graph with one edge leading elsewhere; root, target and distractor are still those of the old one."""
    index, end = change
    edges = [*graph.edges]
    edges[index] = (edges[index][0], end)
    return replace(graph, edges=tuple(edges))


def exchanging_redirections(graph: Graph) -> Iterator[Redirection]:
    """Every redirection after which the root reaches the distractor instead of the target.

    Edges keep leading from smaller to larger ids, none is doubled, and none leads to a node that had no parents: such a
    node may be a name that nothing can be.
    """
    has_parents = {end for _, end in graph.edges}
    for index, (start, _) in enumerate(graph.edges):
        without = replace(graph, edges=graph.edges[:index] + graph.edges[index + 1 :])
        if graph.target in reachable(without):
            continue  # there is another way to the target
        for end in range(start + 1, len(graph.names)):
            if end not in has_parents or (start, end) in graph.edges:
                continue
            reached = reachable(redirected(graph, (index, end)))
            if graph.distractor in reached and graph.target not in reached:
                yield index, end
