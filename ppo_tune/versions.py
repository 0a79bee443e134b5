"""What was installed when something was made, for the record."""

import platform
from importlib.metadata import version

PACKAGES = ("ppo-tune", "torch", "transformers", "accelerate", "optuna", "plotly", "pandas")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
