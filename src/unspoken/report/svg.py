"""A matplotlib drawing -> an SVG element for the page, the same bytes for the same drawing.

Text stays text, in the page's font. Colours are names of the page's palette, so that the page can be light or dark.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, LINE, BAND, PAPER = "#000001", "#000002", "#000003", "#000004", "#000005"
"""Stand-ins for the page's colours: text, lesser text, lines, shaded stages, background."""

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of the runs: Okabe and Ito's, the darkest first; yellow and black are left out for the two backgrounds."""

STYLE: dict[Any, str | float | bool] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unspoken",
    "text.color": INK,
    "font.size": 9.0,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}

_ROLES = {INK: "var(--ink)", FAINT: "var(--faint)", LINE: "var(--line)", BAND: "var(--band)", PAPER: "var(--paper)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)
}
_TARGET = re.compile(r"((?:^|url\()#)([\w.-]+)")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def draw(name: str, alt: str, width: float, height: float, paint: Callable[["Figure"], None]) -> Markup:
    """Draw a figure.

    Args:
        name: Starts every id in it; unique on the page.
        alt: What it shows, in words, for those who do not see it.
        width: In inches.
        height: In inches.
        paint: Puts axes into the empty figure.
    """
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # the page's fonts have the glyphs that matplotlib's own lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height))
        paint(figure)
        # without these the file would hold the date and the address of the library
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata)
    return Markup(_inline(ElementTree.fromstring(buffer.getvalue()), name, alt))


def printable(text: str) -> str:
    """The text with what XML and UTF-8 cannot hold (control characters, half surrogate pairs) replaced by a mark."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _inline(root: ElementTree.Element, name: str, alt: str) -> str:
    """The drawing as HTML takes it: without namespaces, with ids of its own, coloured by the page."""
    for parent in list(root.iter()):
        for child in list(parent):
            # the library's style sheet would hold for the whole page
            if child.tag == f"{_SVG}style":
                parent.remove(child)
    elements = list(root.iter())
    used = {found[2] for element in elements for value in element.attrib.values() for found in _TARGET.finditer(value)}
    for element in elements:
        element.tag = element.tag.removeprefix(_SVG)
        element.tail = None
        if element.tag != "text":
            element.text = None
        element.attrib = {
            key.replace(_LINK, "href"): _page_value(key, value, name)
            for key, value in element.attrib.items()
            if key != "id" or value in used
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _page_value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        value = re.sub(r"#[0-9a-f]{6}", lambda match: _ROLES.get(match[0], match[0]), value)
    return _TARGET.sub(rf"\g<1>{name}-\2", " ".join(value.split()))
