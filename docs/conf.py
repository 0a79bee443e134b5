"""How Sphinx builds the documentation; `make docs` runs it with warnings as errors."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docs.generate import write_pages  # noqa: E402  the repository's folder has to be on the path

project = "ppo-tune"
release = metadata.version("ppo-tune")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ppo-tune {release}"
default_role = "code"  # docstrings set code in single backticks
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
myst_heading_anchors = 3

write_pages(HERE / "reference")
