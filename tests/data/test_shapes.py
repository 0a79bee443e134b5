"""Preferences as they are published: each shape by hand, what is left out, and rows of none of them."""

import gzip
import json
from pathlib import Path

import pytest

from ppo_tune.config.fitting import LabelColumns, PairColumns
from ppo_tune.config.tasks import DatasetTaskConfig
from ppo_tune.data.chats import turns_of
from ppo_tune.data.examples import read_pairs
from ppo_tune.data.labelled import Labelled, read_labels
from ppo_tune.data.prompts import read_prompts
from ppo_tune.data.shapes import SHAPES
from ppo_tune.data.tables import read_table
from ppo_tune.errors import DataError
from tests.data.published import ARTICLE, HH, HH_PROMPT, POST, SHP, UF, Row


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def published(*rows: Row) -> Path:
    """A file of rows as the hub holds it."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    Path("p.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return Path("p.jsonl.gz")


def preferences(*rows: Row) -> Labelled:
    return read_labels(published(*rows))


@pytest.mark.parametrize(
    ("row", "name", "expected"),
    [
        pytest.param(
            HH, "pairs of whole dialogues, as in HH", [(HH_PROMPT, " Take an umbrella.", " Take off.")], id="HH"
        ),
        pytest.param(
            POST, "comparisons of two summaries (TL;DR)",
            [("SUBREDDIT: r/AskReddit\n\nTITLE: Cat\n\nPOST: My cat left.\n\nTL;DR:", " The cat left.", " A cat.")],
            id="TL;DR",
        ),
        pytest.param(
            ARTICLE, "comparisons of two summaries (TL;DR)",
            [("Article: A cat left.\n\nTL;DR:", " A cat.", " The cat left.")], id="news",
        ),
        pytest.param(
            SHP, "pairs of comments on a post (SHP)",
            [("How to boil eggs?\n\n", "Fire, and then water.", "Water.")], id="SHP",
        ),
        pytest.param(
            UF, "answers rated by aspects (UltraFeedback)",
            [("Count.\n\n", "One, two.", "One."), ("Count.\n\n", "One, two.", "No.")], id="UltraFeedback",
        ),
    ],
)  # fmt: skip
def test_a_published_file_is_read_as_it_is_and_that_is_said(
    row: Row, name: str, expected: list[tuple[str, str, str]]
) -> None:
    found = preferences(row, row)

    assert found.rows == 2 * expected
    assert found.notes == (f"p.jsonl.gz: read as {name}",)


CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
OTHER = [CHAT[0], {"role": "assistant", "content": "c"}]
CONVERSATIONS: list[Row] = [
    {"chosen": CHAT, "rejected": OTHER},
    {"messages": CHAT},
    {"conversations": CHAT},
    {"prompt": "a", "completion": "b"},
]


def test_every_shape_is_tried_and_no_row_fits_two() -> None:
    for shape in SHAPES:
        fitting = [row for row in (HH, POST, SHP, UF, *CONVERSATIONS) if shape.fits(row)]
        assert len(fitting) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"chosen": HH["chosen"], "rejected": HH["chosen"]}, "both dialogues are the same", id="same"),
        pytest.param(
            {"chosen": HH["chosen"], "rejected": "\n\nHuman: No.\n\nAssistant: No."},
            "the dialogues share no turn", id="nothing shared",
        ),
        pytest.param(
            {"chosen": HH["chosen"], "rejected": "\n\nHuman: Hi.\n\nAssistant: Go.\n\nHuman: No.\n\nAssistant: Yes."},
            "the dialogues part before their last turn", id="an earlier turn",
        ),
        pytest.param({"chosen": HH["chosen"], "rejected": HH_PROMPT}, "an answer is empty", id="empty"),
        pytest.param({**POST, "summaries": 2 * [{"text": "A."}]}, "both summaries are the same", id="summaries"),
        pytest.param({**SHP, "score_ratio": 1.9}, "neither comment has 2 times the votes of the other", id="votes"),
        pytest.param({**UF, "completions": UF["completions"][3:]}, "fewer than two answers are rated", id="unrated"),
        pytest.param(
            {**UF, "completions": 2 * UF["completions"][:1]}, "no answer is the best", id="a tie"
        ),
    ],
)  # fmt: skip
def test_a_row_that_says_nothing_is_left_out_and_counted(row: Row, reason: str) -> None:
    good = next(one for one in (HH, POST, SHP, UF) if {*one} == {*row})

    found = preferences(good, row, row)

    assert len(found.rows) == len(preferences(good).rows)
    assert found.notes[-1] == f"p.jsonl.gz: 2 rows were left out: {reason}"


def test_a_post_gives_five_pairs_at_most() -> None:
    found = preferences(*[SHP] * 7, {**SHP, "post_id": "p2"})

    assert len(found.rows) == 6
    assert found.notes[-1] == "p.jsonl.gz: 2 rows were left out: 5 others are of the same post"


def test_a_shape_is_known_by_the_first_row_that_can_be_read() -> None:
    path = published(HH)
    path.write_bytes(gzip.compress(b"{" + b"\n" + gzip.decompress(path.read_bytes())))

    table = read_table(path, ["prompt"], drop_bad_rows=True)

    assert [row.columns["prompt"] for row in table.rows] == [HH_PROMPT]
    assert table.dropped == [
        "p.jsonl.gz:1: not valid JSON: Expecting property name enclosed in double quotes"
    ]


def test_a_file_of_which_nothing_is_left_says_why() -> None:
    with pytest.raises(DataError) as refused:
        preferences({"chosen": HH["chosen"], "rejected": HH["chosen"]})

    assert str(refused.value) == (
        "p.jsonl.gz: at least one row is needed, but p.jsonl.gz: read as pairs of whole dialogues, as in HH; "
        "p.jsonl.gz: 1 row was left out: both dialogues are the same"
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        pytest.param(
            [HH, {"chosen": "\n\nHuman: a", "rejected": "b"}],
            r"p.jsonl.gz:2: cannot be read as pairs of whole dialogues, as in HH: ValueError: a dialogue must hold "
            r"'\n\nAssistant:'; mend the row",
            id="no dialogue",
        ),
        pytest.param(
            [POST, {**POST, "choice": 2}],
            "p.jsonl.gz:2: cannot be read as comparisons of two summaries (TL;DR): ValueError: `choice` must be 0 or "
            "1, of two summaries, but got 2 of 2; mend the row",
            id="another choice",
        ),
        pytest.param(
            [SHP, {"history": "x"}],
            "p.jsonl.gz:2: cannot be read as pairs of comments on a post (SHP): KeyError: 'human_ref_A'; mend the row",
            id="other columns",
        ),
        pytest.param(
            [{"chosen": "a", "rejected": "b"}],
            "p.jsonl.gz:1: there is no column 'prompt'; the row has chosen, rejected; name the column by prompt",
            id="none at all",
        ),
    ],
)
def test_a_row_of_another_shape_is_refused_with_its_place(rows: list[Row], problem: str) -> None:
    with pytest.raises(DataError) as refused:
        preferences(*rows)

    assert str(refused.value) == problem


def test_columns_that_are_there_are_read_whatever_shape_they_might_have() -> None:
    row = {**HH, "prompt": "p"}

    assert preferences(row).rows == [("p", HH["chosen"], HH["rejected"])]
    assert preferences(row).notes == ()
    named = LabelColumns(prompt="q", chosen="good", rejected="bad")
    assert read_labels(published({"q": "p", "good": "a", "bad": "b"}), named).rows == [("p", "a", "b")]


def test_a_published_shape_may_have_columns_of_other_names() -> None:
    file = published({"good": HH["chosen"], "bad": HH["rejected"]})
    talk = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]
    Path("talks.jsonl").write_text(json.dumps({"talk": talk}) + "\n", encoding="utf-8")

    pairs = read_labels(file, LabelColumns(chosen="good", rejected="bad"))
    replies = read_pairs("talks.jsonl", PairColumns(prompt="talk"))

    assert pairs.rows == preferences(HH).rows
    [(prompt, response)] = replies.rows
    assert turns_of(prompt) == talk[:1]
    assert response == "Ho."


def test_a_name_that_was_given_and_is_not_there_is_no_reason_to_guess() -> None:
    with pytest.raises(DataError, match="there is no column 'question'"):
        read_pairs(published(HH), PairColumns(prompt="question"))


def test_sft_takes_what_was_chosen_and_a_task_the_prompts() -> None:
    pairs = read_pairs(published(HH))
    path = published(HH, {**HH, "rejected": HH["chosen"] + " Now."})
    block = {"name": "dataset", "path": str(path), "reference": "chosen", "reward": {"name": "reference"}}
    task = DatasetTaskConfig.model_validate(block)

    assert pairs.rows == [(HH_PROMPT, " Take an umbrella.")]
    assert pairs.notes == ("p.jsonl.gz: read as pairs of whole dialogues, as in HH",)
    [prompt] = read_prompts(task).prompts
    assert prompt.text == HH_PROMPT
    assert prompt.columns["references"] == [" Take an umbrella.", " Take an umbrella."]


def test_other_columns_stay() -> None:
    [row] = read_table(published({**SHP, "domain": "askculinary"}), ["prompt", "chosen"]).rows

    assert row.columns["domain"] == "askculinary"
    assert "human_ref_A" not in row.columns


def test_preferences_of_equal_responses_are_left_out_and_counted() -> None:
    rows = [{"prompt": "p", "chosen": "a", "rejected": rejected} for rejected in ("a", "b", "a")]

    found = preferences(*rows)

    assert found.rows == [("p", "a", "b")]
    assert found.notes == ("p.jsonl.gz: 2 rows were left out: both responses are the same",)
    with pytest.raises(DataError, match="in every row both responses are the same"):
        preferences(rows[0])
