"""Studies made by hand, as the report's tests have them."""

from tests.reporting.conftest import hand_made

__all__ = ["hand_made"]
