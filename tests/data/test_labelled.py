"""Files of judged responses: what they hold is found from their columns or named, and what is wrong is one sentence."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppo_tune.config.fitting import LabelColumns
from ppo_tune.data.chats import turns_of
from ppo_tune.data.labelled import Labelled, read_labels
from ppo_tune.data.labels import ClassLabels, PairLabels, RatingLabels, mean_and_spread
from ppo_tune.errors import ConfigError, DataError

ASK = {"prompt": "p", "response": "r"}


def read(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **columns: Any) -> Labelled:
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_labels(file, LabelColumns(**columns))


def said(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **columns: Any) -> str:
    """What is told of a file that cannot be used, without its folder."""
    with pytest.raises((DataError, ConfigError)) as caught:
        read(tmp_path, rows, **columns)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_ratings_are_known_by_their_column(tmp_path: Path) -> None:
    found = read(tmp_path, [{**ASK, "rating": 4, "rater": "ann"}, {**ASK, "rating": "2.5", "rater": "bob"}])

    assert isinstance(found.labels, RatingLabels)
    assert found.labels.ratings.tolist() == [[4.0], [2.5]]
    assert found.labels.raters is not None
    assert found.labels.raters.tolist() == ["ann", "bob"]
    assert [*found.rows] == [("p", "r"), ("p", "r")]
    assert found.places[1].endswith("a.jsonl:2")


@pytest.mark.parametrize(("label", "values"), [("rating", [1, 5]), ("label", ["bad", "good"])])
def test_a_comment_may_be_all_that_is_said_of_a_response(
    label: str, values: list[Any], tmp_path: Path
) -> None:
    rows = [{**ASK, label: value, "comment": f"c{i}"} for i, value in enumerate([*values, None])]

    found = read(tmp_path, [*rows, {**ASK, label: "", "comment": " "}], kind="comments")

    assert found.labels.comments is not None
    assert found.labels.comments.tolist() == ["c0", "c1", "c2"]
    assert found.labels.known().tolist() == [True, True, False]
    assert any("a teacher learns to read it" in note for note in found.notes)
    assert any("1 row was left out: no " in note for note in found.notes)


def test_one_rater_alone_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, [{**ASK, "rating": n, "rater": "ann"} for n in (1, 2)])

    assert found.notes[-1].endswith("a.jsonl: one rater, 'ann', judged all rows")


def test_a_low_rating_can_be_the_better_one(tmp_path: Path) -> None:
    found = read(tmp_path, [{**ASK, "rating": n} for n in (1, 3)], best="low")

    assert found.labels.order()[0] > found.labels.order()[1]


def test_several_attributes_may_be_missing_in_some_rows_but_not_in_all(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {**ASK, "true": 1, "kind": 5},
        {**ASK, "true": None, "kind": 3},
        {**ASK, "true": 0},
        {**ASK, "true": ""},
    ]

    found = read(tmp_path, rows, rating="true, kind")

    assert isinstance(found.labels, RatingLabels)
    assert found.labels.attributes == ("true", "kind")
    expected = np.array([[1, 5], [math.nan, 3], [0, math.nan]])
    assert np.array_equal(found.labels.ratings, expected, equal_nan=True)
    assert found.notes[-1].endswith("1 row was left out: no rating is given")


@pytest.mark.parametrize(
    ("values", "names", "classes"),
    [
        (["good", "Bad ", "FAIR"], ("bad", "fair", "good"), [2, 0, 1]),
        (["好", "差", "中"], ("差", "中", "好"), [2, 0, 1]),
        ([True, False], ("false", "true"), [1, 0]),
        ([1, 0.0, "1"], ("0", "1"), [1, 0, 1]),
        (["no", "yes"], ("no", "yes"), [0, 1]),
    ],
)
def test_usual_classes_need_no_names(
    values: list[Any], names: tuple[str, ...], classes: list[int], tmp_path: Path
) -> None:
    found = read(tmp_path, [{**ASK, "label": value} for value in values])

    assert isinstance(found.labels, ClassLabels)
    assert (found.labels.names, found.labels.classes.tolist()) == (names, classes)
    assert (found.labels.good, found.labels.ordered) == (len(names) - 1, True)


def test_the_words_of_any_language_can_be_named(tmp_path: Path) -> None:
    rows = [{**ASK, "grade": word} for word in ("schlecht", "gut", "mies", "geht so")]

    found = read(tmp_path, rows, label="grade", classes="schlecht=mies,geht so,gut")

    assert isinstance(found.labels, ClassLabels)
    assert found.labels.names == ("schlecht", "geht so", "gut")
    assert found.labels.classes.tolist() == [0, 2, 0, 1]


def test_classes_without_an_order_have_one_to_be_reached(tmp_path: Path) -> None:
    rows = [{**ASK, "label": word} for word in ("sad", "happy", "angry")]

    found = read(tmp_path, rows, classes="happy,sad,angry", order="unordered", good="happy")

    assert isinstance(found.labels, ClassLabels)
    assert (found.labels.good, found.labels.ordered) == (0, False)
    assert found.labels.order().tolist() == [0, 1, 0]


def test_of_two_classes_the_good_one_is_the_last_whichever_is_named_first(tmp_path: Path) -> None:
    rows = [{**ASK, "label": word} for word in ("spam", "ham")]

    found = read(tmp_path, rows, classes="ham,spam", good="ham")

    assert isinstance(found.labels, ClassLabels)
    assert (found.labels.names, found.labels.classes.tolist(), found.labels.good) == (
        ("spam", "ham"),
        [0, 1],
        1,
    )


def test_pairs_may_stand_as_two_responses_and_a_choice(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "a": "x", "b": "y", "choice": c} for c in ("a", "B", "tie", "both bad")]

    found = read(tmp_path, rows)

    assert isinstance(found.labels, PairLabels)
    assert [*found.rows] == [("p", "x", "y"), ("p", "y", "x"), ("p", "x", "y")]
    assert found.labels.tied.tolist() == [False, False, True]
    assert found.notes[-1].endswith("1 row was left out: both responses were called bad, which is no tie")


def test_margins_are_read_where_there_are_any(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "x", "rejected": "y"}

    found = read(tmp_path, [{**row, "margin": 2}, {**row, "margin": None}])

    assert isinstance(found.labels, PairLabels)
    assert found.labels.margins.tolist() == [2.0, 0.0]
    assert found.notes[-1].endswith("column 'margin' says by how much a response is better")


def test_unpaired_data_in_its_published_shape_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, [{"prompt": "p", "completion": "r", "label": label} for label in (True, False)])

    assert isinstance(found.labels, ClassLabels)
    assert [*found.rows] == [("p", "r"), ("p", "r")]


def test_a_prompt_may_be_a_conversation(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}]

    found = read(tmp_path, [{"prompt": asked, "response": "r", "rating": n} for n in (1, 2)])

    assert turns_of(found.rows[0][0]) == asked


def test_a_table_of_texts_holds_the_same(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "response", "rating"], ["p", "r", "1"], ["p", "s", "5"]])

    assert read_labels(tmp_path / "a.csv").labels.order().argmax() == 1


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        pytest.param(
            [{**ASK, "rating": 1, "label": "good"}],
            {},
            "kind: must be named, for a.jsonl has a column 'rating' and a column 'label'",
            id="two kinds",
        ),
        pytest.param(
            [{**ASK, "rating": 1}],
            {"kind": "comments"},
            "a.jsonl: there is no column 'comment' for comment; the first row has prompt, response, rating",
            id="no comments",
        ),
        pytest.param(
            [{**ASK, "comment": "so so"}],
            {"kind": "comments"},
            "a.jsonl: which column says how good a response is? name it by rating (numbers) or label (classes); the "
            "first row has prompt, response, comment",
            id="comments alone",
        ),
        pytest.param(
            [{**ASK, "comment": "so so", "label": ""}],
            {},
            "a.jsonl: no row has a class",
            id="comments without a class",
        ),
        pytest.param(
            [ASK],
            {},
            "a.jsonl: which column says how good a response is? name it by rating (numbers) or label (classes); the "
            "first row has prompt, response",
            id="no kind",
        ),
        pytest.param(
            [{**ASK, "rating": 1}],
            {"rating": "kind"},
            "a.jsonl: there is no column 'kind' for rating; the first row has prompt, response, rating",
            id="a missing attribute",
        ),
        pytest.param(
            [{**ASK, "rating": 1}],
            {"rater": "who"},
            "a.jsonl: there is no column 'who' for rater; the first row has prompt, response, rating",
            id="a missing rater",
        ),
        pytest.param(
            [{**ASK, "rating": "high"}],
            {},
            "a.jsonl:1: column 'rating' must hold a number, but got 'high'; mend the row",
            id="a rating that is a word",
        ),
        pytest.param(
            [{**ASK, "rating": True}],
            {},
            "a.jsonl:1: column 'rating' must hold a number, but got True; mend the row",
            id="a rating that is a truth",
        ),
        pytest.param(
            [{**ASK, "rating": 3}] * 3,
            {},
            "a.jsonl: all ratings of 'rating' are 3, so nothing can be learned of it",
            id="one rating",
        ),
        pytest.param(
            [{**ASK, "true": 3, "kind": None}, {**ASK, "true": 1}],
            {"rating": "true,kind"},
            "a.jsonl: no row has a rating of 'kind'",
            id="an attribute without ratings",
        ),
        pytest.param(
            [{**ASK, "rating": None}],
            {},
            "a.jsonl: at least one row that says something is needed, but in every row no rating is given",
            id="no ratings",
        ),
        pytest.param(
            [{**ASK, "label": "good"}] * 2,
            {},
            "a.jsonl: all labels are 'good', and one class alone says nothing",
            id="one class",
        ),
        pytest.param(
            [{**ASK, "label": "schlecht"}, {**ASK, "label": "gut"}],
            {},
            "classes: must name the classes from worst to best, for column 'label' of a.jsonl holds schlecht, gut",
            id="classes without names",
        ),
        pytest.param(
            [{**ASK, "label": ["good"]}],
            {},
            "a.jsonl:1: column 'label' must hold a class, but got ['good']; mend the row",
            id="a class that is a list",
        ),
        pytest.param(
            [{**ASK, "label": 1}, {**ASK, "label": 5}],
            {},
            "classes: must name the classes from worst to best, for column 'label' of a.jsonl holds 1, 5; to read them "
            "as numbers, name it by rating",
            id="classes that are numbers",
        ),
        pytest.param(
            [{**ASK, "label": "good"}, {**ASK, "label": "superb"}],
            {"classes": "bad,good"},
            "a.jsonl:2: column 'label' must hold one of bad, good, but got 'superb'; add it to classes, or mend the "
            "row",
            id="an unknown class",
        ),
        pytest.param(
            [{**ASK, "label": "good"}],
            {"classes": "good"},
            "classes: must name two classes or more, from worst to best with commas between, but got 'good'",
            id="one name",
        ),
        pytest.param(
            [{**ASK, "label": "good"}],
            {"classes": "bad=poor,good=poor"},
            "classes: must name each word once, but 'poor' is there twice",
            id="a word of two classes",
        ),
        pytest.param(
            [{**ASK, "label": "good"}, {**ASK, "label": "bad"}],
            {"good": "superb"},
            "good: must be one of bad, fair, good, but got 'superb'",
            id="an unknown good class",
        ),
        pytest.param(
            [{**ASK, "label": "good"}, {**ASK, "label": "bad"}],
            {"good": "fair"},
            "good: of ordered classes the last is to be reached; give them in that order, or order: unordered",
            id="a good class in the middle",
        ),
        pytest.param(
            [{**ASK, "label": "b"}, {**ASK, "label": "c"}],
            {"classes": "a,b,c", "order": "unordered", "good": "a"},
            "a.jsonl: no label is 'a', the class to be reached",
            id="a good class that never comes",
        ),
        pytest.param(
            [{"prompt": "p", "a": "x", "b": "y", "choice": "tie"}] * 2,
            {},
            "a.jsonl: in every pair neither response was chosen, so no order can be learned",
            id="ties only",
        ),
        pytest.param(
            [{"prompt": "p", "a": "x", "b": "y", "choice": "maybe"}],
            {},
            "a.jsonl:1: column 'choice' must say one of a, first, left, b, second, right, tie, draw, equal, same, but "
            "got 'maybe'; mend the row",
            id="an unknown choice",
        ),
        pytest.param(
            [{"prompt": "p", "chosen": "x", "rejected": "y", "margin": -1}],
            {},
            "a.jsonl:1: column 'margin' must be 0 or more, but got -1; mend the row",
            id="a margin below 0",
        ),
        pytest.param(
            [{"prompt": "p", "chosen": "x", "rejected": "x"}],
            {},
            "a.jsonl: at least one row that says something is needed, but in every row both responses are the same",
            id="the same response twice",
        ),
    ],
)
def test_what_is_wrong_with_labels_is_one_sentence(
    rows: list[dict[str, Any]], columns: dict[str, Any], told: str, tmp_path: Path
) -> None:
    assert said(tmp_path, rows, **columns) == told


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"rating": "x", "label": "y"},
            "both `rating` and `label` are given; say by `kind` what is to be learned",
        ),
        ({"rating": "x", "kind": "pairs"}, "`rating` is of ratings, but `kind` is pairs; leave one out"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"given; say by|leave one out") as caught:
        LabelColumns(**columns)

    assert told in str(caught.value)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_with_another_separator_is_known_by_its_columns(mark: str, tmp_path: Path) -> None:
    rows = [["prompt", "response", "rating"], ["p, q; r", "s", "1"], ["p", "t; u, v", "5"]]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=mark).writerows(rows)

    found = read_labels(tmp_path / "a.csv")

    assert [*found.rows] == [("p, q; r", "s"), ("p", "t; u, v")]


def test_mean_and_spread_leave_out_what_is_missing() -> None:
    mean, spread = mean_and_spread(np.array([[1.0, math.nan, 7.0], [3.0, math.nan, 7.0], [math.nan] * 3]))

    assert (mean.tolist(), spread.tolist()) == ([2.0, 0.0, 7.0], [1.0, 1.0, 1.0])


def test_the_label_of_a_row_is_at_its_place_in_a_part(tmp_path: Path) -> None:
    labels = read(tmp_path, [{**ASK, "rating": n, "rater": f"r{n}"} for n in range(5)]).labels

    part = labels.at([3, 1])

    assert isinstance(part, RatingLabels)
    assert (part.ratings.tolist(), len(part)) == ([[3.0], [1.0]], 2)
    assert part.raters is not None
    assert part.raters.tolist() == ["r3", "r1"]
