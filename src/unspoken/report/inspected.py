"""What a report reads of `inspection.json`: strict records, in which a damaged or foreign file does not fit."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveInt, StringConstraints, model_validator

from unspoken.report.audited import Count, Difference, Omission, Share
from unspoken.vision.thumbnail import HEAD, MAX_LETTERS

Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = tuple[Share, Share]
Thumbnail = Annotated[str, StringConstraints(pattern=rf"^{HEAD}[A-Za-z0-9+/]+={{0,2}}$", max_length=MAX_LETTERS)]
"""A picture as `unspoken.vision.thumbnail` writes it: nothing else gets into the page."""


class Held(BaseModel, frozen=True):
    """What a thought should hold, and how far up the head reads it there."""

    words: tuple[str, ...]
    rank: PositiveInt
    probability: Finite


class Thought(BaseModel, frozen=True):
    """The likeliest words of a thought."""

    words: tuple[tuple[str, Finite], ...]
    oracle: Held | None


class Graph(BaseModel, frozen=True):
    """The graph of a question."""

    names: tuple[str, ...]
    edges: tuple[tuple[Count, Count], ...]
    root: Count
    target: Count
    distractor: Count | None
    depths: tuple[Count | None, ...]
    frontiers: tuple[tuple[Count, ...], ...]

    @model_validator(mode="after")
    def _has_its_nodes(self) -> "Graph":
        nodes = range(len(self.names))
        ends = {self.root, self.target, *(node for edge in self.edges for node in edge)}
        ends |= {node for layer in self.frontiers for node in layer}
        if self.distractor is not None:
            ends.add(self.distractor)
        if not ends <= set(nodes) or len(self.depths) != len(nodes):
            raise ValueError(f"a graph of {len(nodes)} nodes names others, or has {len(self.depths)} depths")
        return self


class Forced(BaseModel, frozen=True):
    """What was written after some number of thoughts."""

    text: str
    verdict: str


class SeenImage(BaseModel, frozen=True):
    """An image, and who looks where."""

    path: str
    thumbnail: Thumbnail
    grid: tuple[PositiveInt, PositiveInt] | None
    attention: tuple[tuple[Share, ...], ...] | None

    @model_validator(mode="after")
    def _every_slot_has_its_attention(self) -> "SeenImage":
        counts = {len(slots) for slots in self.attention or ()}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(f"{self.path}: it has {sorted(counts)} slots for those who look at it")
        if self.grid and counts and counts != {self.grid[0] * self.grid[1]}:
            raise ValueError(f"{self.path}: {counts.pop()} slots are not {self.grid[0]} x {self.grid[1]} patches")
        return self


class Example(BaseModel, frozen=True):
    """A question in full."""

    id: str
    question: str
    images: tuple[SeenImage, ...] = ()
    expected: str
    text: str
    verdict: str
    graph: Graph | None
    thoughts: tuple[Thought, ...]
    forced: tuple[Forced, ...]
    values: tuple[tuple[Share, ...], ...] | None
    held: tuple[tuple[Count, ...], ...] | None

    @model_validator(mode="after")
    def _belongs_together(self) -> "Example":
        if self.values and (self.graph is None or any(len(each) != len(self.graph.names) for each in self.values)):
            raise ValueError(f"{self.id}: there is not one value for each node of its graph")
        if len(self.values or ()) != len(self.held or ()):
            raise ValueError(f"{self.id}: there are not as many sets of nodes as sets of values")
        if any(image.attention is not None and len(image.attention) != len(self.thoughts) + 1 for image in self.images):
            raise ValueError(f"{self.id}: not its {len(self.thoughts)} thoughts and its answer look at its images")
        return self


class Lens(BaseModel, frozen=True):
    """How often a thought reads as what it should hold."""

    thought: PositiveInt
    n: PositiveInt
    top1: Share
    interval: Interval
    shuffled_top1: Share
    shuffled_interval: Interval


class Recovery(BaseModel, frozen=True):
    """How well the values of nodes show the frontier."""

    num_thoughts: Count
    n: PositiveInt
    auc: Share
    interval: Interval
    shuffled_auc: Share
    shuffled_interval: Interval


class NodeClass(BaseModel, frozen=True):
    """A histogram."""

    n: PositiveInt
    mean: Finite
    sd: Finite
    counts: tuple[Count, ...]


class ByThought(BaseModel, frozen=True):
    """The histograms of a thought."""

    thought: PositiveInt
    classes: dict[str, NodeClass]


class InnerProducts(BaseModel, frozen=True):
    """Inner products of thoughts with nodes."""

    edges: tuple[Finite, ...]
    thoughts: tuple[ByThought, ...]


class Outcomes(BaseModel, frozen=True):
    """What becomes of a question after so many thoughts."""

    num_thoughts: Count
    n: PositiveInt
    classes: dict[str, Share]
    accuracy: Share
    interval: Interval
    tokens_per_answer: Finite


class Attention(BaseModel, frozen=True):
    """Where a thought looks."""

    layer: PositiveInt
    thought: PositiveInt
    groups: dict[str, Finite]


class Spread(BaseModel, frozen=True):
    """Mean and standard deviation."""

    mean: Finite
    sd: Annotated[float, Field(ge=0)]


class Paths(BaseModel, frozen=True):
    """Thoughts in two directions."""

    explained: tuple[Finite, ...]
    paths: tuple[tuple[tuple[Finite, Finite], ...], ...]
    answers: tuple[str, ...]


class Geometry(BaseModel, frozen=True):
    """The cloud of thoughts."""

    norms: tuple[Spread, ...]
    embedding_norm: Spread
    cosine: tuple[Finite, ...]
    effective_rank: tuple[Finite, ...]
    pca: Paths


class Probe(BaseModel, frozen=True):
    """What a linear map reads off a thought.

    Files of an older kind, whose controls were others, have no `above_control` and are refused.
    """

    thought: PositiveInt
    target: str
    n_test: PositiveInt
    accuracy: Share
    interval: Interval
    control_accuracy: Share
    control_interval: Interval
    above_control: Difference


class Tracing(BaseModel, frozen=True):
    """Where the answer comes from."""

    layers: tuple[str, ...]
    positions: tuple[str, ...]
    effect: tuple[tuple[Finite, ...], ...]
    n: PositiveInt


class Inspection(BaseModel, frozen=True):
    """The whole file."""

    data: str
    n: PositiveInt
    examples: tuple[Example, ...]
    lens: tuple[Lens, ...]
    frontier: tuple[Recovery, ...] | None
    inner_products: InnerProducts | None
    outcomes: tuple[Outcomes, ...]
    attention: tuple[Attention, ...]
    geometry: Geometry
    probes: tuple[Probe, ...]
    tracing: Tracing | None
    omitted: tuple[Omission, ...]
    model_sha256: str
    environment: dict[str, Any]
