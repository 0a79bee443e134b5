"""The templates of pages, cards and scripts, and what fills them in: HTML escapes its values, plain text does not."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(*, is_html: bool) -> Environment:
    """What fills in templates; a name that was not given is an error.

    Args:
        is_html: Whether values are escaped. In other texts the caller makes them safe for its own format.
    """
    return Environment(
        loader=PackageLoader("ppo_tune", "templates"),
        undefined=StrictUndefined,
        autoescape=is_html,  # noqa: S701 text that is no HTML is made safe by its caller
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_html,
    )


@cache
def _plain() -> Environment:
    return environment(is_html=False)


def render(template_file: str, **values: Any) -> str:
    """A template of plain text, filled in: Markdown, YAML, Python or a shell script."""
    return _plain().get_template(template_file).render(**values)
