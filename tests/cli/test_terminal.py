"""What goes to a terminal is broken between words, and what goes to a file is not."""

import io

import pytest
from rich.console import Console

from ppo_tune.cli.terminal import between_words, labelled

PATH = "/a/folder/whose-name/is-longer/than-the-terminal/is-wide.yaml"


@pytest.mark.parametrize("width", [20, 40, 80])
def test_lines_end_between_words_and_what_can_be_copied_stays_whole(width: int) -> None:
    text = f"study small: 2 workers propose at once; look into {PATH}\n  an indented line"

    lines = between_words(text, width).split("\n")

    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or line == PATH for line in lines)
    assert PATH in lines or width == 80
    assert "  an indented line" in lines


@pytest.mark.parametrize("terminal", [True, False])
def test_a_label_is_part_of_the_first_line(terminal: bool) -> None:
    screen = Console(file=io.StringIO(), force_terminal=terminal, width=24, color_system=None)

    said = labelled("error: ", "red", "there is no study 'quikstart' here", screen).plain

    assert said == ("error: there is no study\n'quikstart' here" if terminal else said.replace("\n", " "))
    assert said.startswith("error: there is no study")
