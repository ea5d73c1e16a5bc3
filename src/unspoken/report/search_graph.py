"""The search of one question, drawn once for each number of thoughts: the graph stays, the values of its nodes change.

Lengths are the units of the drawing, about a pixel each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from statistics import fmean

from markupsafe import Markup

from unspoken.report.inspected import Example, Graph
from unspoken.report.svg import printable

COLUMN, ROW, MARGIN = 92.0, 78.0, 42.0
SMALLEST, LARGEST = 5.0, 17.0
"""Radius of a node of value 0 and of one of value 1; the area grows with the value."""
SHOWN = 0.01
"""Values from here on are written at their nodes."""

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        label: After how many thoughts.
        svg: The drawing.
    """

    label: str
    svg: Markup


def frames(example: Example) -> list[Frame]:
    """A picture for each number of thoughts; none without a graph or values."""
    if example.graph is None or not example.values or not example.held:
        return []
    places = layout(example.graph)
    return [
        Frame(_after(count), _draw(example.graph, places, values, frozenset(held), _after(count)))
        for count, (values, held) in enumerate(zip(example.values, example.held, strict=True))
    ]


def layout(graph: Graph) -> dict[int, Place]:
    """A place for every node: columns are steps from the root; what the root does not reach lies below."""
    reached = [node for node, depth in enumerate(graph.depths) if depth is not None]
    others = [node for node, depth in enumerate(graph.depths) if depth is None]
    upper = _columns(graph, {node: graph.depths[node] or 0 for node in reached})
    places = _placed(graph, upper, top=MARGIN)
    if others:
        lower = _columns(graph, _own_depths(graph, others))
        top = max((y for _, y in places.values()), default=0.0) + 1.5 * ROW
        places |= _placed(graph, lower, top=top)
    return places


def _after(count: int) -> str:
    return "no thought" if not count else "1 thought" if count == 1 else f"{count} thoughts"


def _columns(graph: Graph, depth: Mapping[int, int]) -> list[list[int]]:
    columns: list[list[int]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node, number in depth.items():
        columns[number].append(node)
    # each column in the order of the mean place of what leads there, so that few edges cross
    for before, column in pairwise(columns):
        place = {node: index for index, node in enumerate(before)}
        parents = {node: [place[a] for a, b in graph.edges if b == node and a in place] for node in column}
        column.sort(key=lambda node: (fmean(parents[node]) if parents[node] else len(before), node))
    return columns


def _own_depths(graph: Graph, nodes: Sequence[int]) -> dict[int, int]:
    """Steps from those of these nodes that no other of them leads to; from the first node in a ring."""
    inside = set(nodes)
    led_to = {b for a, b in graph.edges if a in inside and b in inside}
    depth = {node: 0 for node in nodes if node not in led_to} or {nodes[0]: 0}
    queue = list(depth)
    while len(depth) < len(nodes):
        if not queue:
            rest = next(node for node in nodes if node not in depth)
            depth[rest] = 0
            queue.append(rest)
        node = queue.pop(0)
        for a, b in graph.edges:
            if a == node and b in inside and b not in depth:
                depth[b] = depth[node] + 1
                queue.append(b)
    return depth


def _placed(graph: Graph, columns: Sequence[Sequence[int]], top: float) -> dict[int, Place]:
    most = max(map(len, columns), default=0)
    return {
        node: (MARGIN + COLUMN * number, top + ROW * (index + (most - len(column)) / 2))
        for number, column in enumerate(columns)
        for index, node in enumerate(column)
    }


def _draw(
    graph: Graph, places: Mapping[int, Place], values: Sequence[float], held: frozenset[int], after: str
) -> Markup:
    apexes = [_apex(places[a], places[b]) for a, b in graph.edges]
    left, top = min([0.0, *(x for x, _ in apexes)]), min([0.0, *(y - 4 for _, y in apexes)])
    width = max([x + MARGIN for x, _ in places.values()] + [x + 4 for x, _ in apexes]) - left
    height = max([y + MARGIN for _, y in places.values()] + [y + 4 for _, y in apexes]) - top
    edges = Markup("").join(_edge(places[a], places[b]) for a, b in graph.edges)
    nodes = Markup("").join(_node(graph, node, places[node], values[node], node in held) for node in places)
    best = max(range(len(values)), key=lambda node: values[node])
    alt = f"After {after} the largest value is that of {graph.names[best]}, {values[best]:.2f}"
    if held:
        alt += f"; a correct search may hold {', '.join(graph.names[node] for node in sorted(held))}"
    return Markup(
        '<svg viewBox="{:.0f} {:.0f} {:.0f} {:.0f}" style="max-width: {:.0f}px" role="img" aria-label="{}">{}{}</svg>'
    ).format(left, top, width, height, width, printable(alt + "."), edges, nodes)


def _bent(start: Place, end: Place) -> Place:
    """What pulls the line between two nodes: its middle, or beside it where it would run through nodes in between."""
    (x1, y1), (x2, y2) = start, end
    length = hypot(x2 - x1, y2 - y1) or 1.0
    bend = 0.0 if round(abs(x2 - x1) / COLUMN) == 1 else min(0.25 * length, 1.6 * ROW)
    return (x1 + x2) / 2 - (y2 - y1) / length * bend, (y1 + y2) / 2 + (x2 - x1) / length * bend


def _apex(start: Place, end: Place) -> Place:
    """The middle of the line between two nodes as it is drawn."""
    pull = _bent(start, end)
    return (start[0] + 2 * pull[0] + end[0]) / 4, (start[1] + 2 * pull[1] + end[1]) / 4


def _edge(start: Place, end: Place) -> Markup:
    """A line with an arrow head."""
    (x1, y1), (x2, y2) = start, end
    middle_x, middle_y = _bent(start, end)
    # the arrow ends in front of its node, in the direction in which the line arrives
    arrive = hypot(x2 - middle_x, y2 - middle_y) or 1.0
    ax, ay = (x2 - middle_x) / arrive, (y2 - middle_y) / arrive
    tip_x, tip_y = x2 - ax * (LARGEST + 3), y2 - ay * (LARGEST + 3)
    left_x, left_y = tip_x - 6 * ax - 3 * ay, tip_y - 6 * ay + 3 * ax
    right_x, right_y = tip_x - 6 * ax + 3 * ay, tip_y - 6 * ay - 3 * ax
    return Markup(
        '<path class="edge" d="M{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}"/>'
        '<path class="tip" d="M{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}Z"/>'
    ).format(x1, y1, middle_x, middle_y, tip_x, tip_y, tip_x, tip_y, left_x, left_y, right_x, right_y)


def _node(graph: Graph, node: int, place: Place, value: float, is_held: bool) -> Markup:
    x, y = place
    radius = (SMALLEST**2 + value * (LARGEST**2 - SMALLEST**2)) ** 0.5
    name, role = graph.names[node], _role(graph, node)
    depth = graph.depths[node]
    far = "not reached from the root" if depth is None else f"{depth} step{'s' if depth != 1 else ''} from the root"
    told = f"{name}: value {value:.3f}, {far}" + (f", {role}" if role else "")
    told += ", a correct search may hold it now" if is_held else ""
    ring = Markup('<circle class="held" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(x, y, LARGEST + 3)
    number = Markup('<text class="value" x="{:.1f}" y="{:.1f}">{}</text>').format(x, y - LARGEST - 6, f"{value:.2f}")
    return Markup(
        '<g class="node{}"><title>{}</title>{}<circle class="reach" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>'
        '<circle class="full" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>{}<text x="{:.1f}" y="{:.1f}">{}</text></g>'
    ).format(
        f" {role}" if role else "",
        printable(told),
        ring if is_held else "",
        x, y, LARGEST,
        x, y, radius,
        number if value >= SHOWN else "",
        x, y + LARGEST + 13,
        printable(name + {"root": " ▸", "target": " ✓", "distractor": " ✗"}.get(role, "")),
    )  # fmt: skip


def _role(graph: Graph, node: int) -> str:
    return {graph.root: "root", graph.target: "target", graph.distractor: "distractor"}.get(node, "")
