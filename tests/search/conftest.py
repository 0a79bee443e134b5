"""The small world's fixtures, for every test of the search."""

from tests.worlds import make_study, small_world, write_study

__all__ = ["make_study", "small_world", "write_study"]
