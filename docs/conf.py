"""Sphinx settings. The build reads nothing from the network."""

import re
from pathlib import Path

_PACKAGE = Path(__file__).parents[1] / "src" / "unspoken" / "__init__.py"

project = "Unspoken"
author = "The Unspoken authors"
copyright = "The Unspoken authors"
release = re.search(r'__version__ = "(.+)"', _PACKAGE.read_text(encoding="utf-8"))[1]

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_title = f"Unspoken {release}"
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "native"
