"""A study says one thing: terminal, status, page, summary, best.yaml and exports tell the same sentence."""

import html
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ppo_tune.cli import app
from ppo_tune.config.training_file import load_training
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.storage import storage_url
from tests.reporting.conftest import HandMade, fill_all_failed, fill_hacked, fill_usual

TARGETS = ("native", "trl", "openrlhf", "verl", "skyrl")


def plain(text: str) -> str:
    """Words on one line, without the marks of comments, Markdown and HTML."""
    text = re.sub(r"^\s*#+ ?", "", text, flags=re.MULTILINE).replace("\\", "").replace("\u2060", "")
    return " ".join(html.unescape(text).split())


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """A folder that holds a study named `hand`, filled by one of the fillers."""

    def made(fill: Callable[[HandMade], HandMade]) -> Path:
        folder = StudyFolder.of(tmp_path, "hand").path
        folder.mkdir(parents=True)
        fill(HandMade(folder, storage_url(tmp_path, "hand")))
        return tmp_path

    return made


def run(out: Path, *words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def everywhere(out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is said of the study in each place."""
    monkeypatch.setattr(
        "ppo_tune.export.gather._sources", lambda *_: __import__("ppo_tune.export").export.Sources()
    )
    said = {"report": run(out, "report", "hand", "--markdown"), "status": run(out, "status", "hand")}
    report = out / "reports" / "hand"
    said |= {
        name: (report / name).read_text(encoding="utf-8")
        for name in ("index.html", "summary.md", "best.yaml")
    }
    for target in TARGETS:
        said[target] = run(out, "export", "hand", "--to", target, "--print")
    said["card"] = run(out, "export", "hand") + (out / "exports/hand-native/README.md").read_text(
        encoding="utf-8"
    )
    return {place: plain(text) for place, text in said.items()}


def test_a_hacked_winner_is_a_caution_in_every_place_and_nowhere_to_be_trained(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make(fill_hacked)
    facts = json.loads(run(out, "status", "hand", "--json"))
    verdict = facts["verdict"]

    said = everywhere(out, monkeypatch)

    assert (verdict["kind"], verdict["trial"], verdict["confirmed"]) == ("caution", 1, True)
    assert re.fullmatch(
        r"Caution: trial 1 scores higher than the default config \(\+0\.1\d on 3 fresh seeds\), "
        r"but it looks like reward hacking: "
        r"gold -0\.4\d against the default config \(95 % interval -0\.\d\d to -0\.\d\d, "
        r"lower on all 3 seeds\) and 98 % of its responses are cut off \(untrained model 34 %, default config 40 %\)\.",
        verdict["sentence"],
    )
    length = HandMade(out).config.ppo.max_new_tokens
    assert verdict["advice"] == facts["next"]
    assert verdict["advice"] == (
        "Do not train it as it is: lower search.kl_budget (10 nats now) or raise kl_coef, and raise "
        f"ppo.missing_eos_penalty (0 now) or ppo.max_new_tokens ({length} now) so that responses end; then search "
        "again under another name."
    )
    assert [place for place, text in said.items() if plain(verdict["sentence"]) not in text] == []
    assert [place for place, text in said.items() if plain(verdict["advice"]) not in text] == []
    own = ("report", "status", "index.html", "summary.md", "best.yaml", "native")
    assert [place for place in own if "ppo-tune train" in said[place]] == []
    assert [place for place, text in said.items() if "go on with" in text] == []
    assert load_training(out / "reports/hand/best.yaml").ppo.learning_rate == 1e-3


def fill_cut_off(made: HandMade) -> HandMade:
    """An unconfirmed search whose best trial's responses no longer end."""
    search = made.config.search.model_copy(update={"n_trials": 2})
    made.config = made.config.model_copy(update={"search": search})
    made.study.set_user_attr("config", made.config.model_dump(mode="json"))
    made.add("completed", [0.5], baseline=True, eos=0.75)
    made.add("completed", [1.0], eos=0.02)
    return made


def test_status_says_what_to_change_though_nothing_was_confirmed(make: Callable[..., Path]) -> None:
    facts = json.loads(run(make(fill_cut_off), "status", "hand", "--json"))

    assert (facts["verdict"]["kind"], facts["to_confirm"]) == ("caution", True)
    assert facts["next"] == facts["verdict"]["advice"]


def test_a_winner_that_nothing_speaks_against_is_told_alike_and_may_be_trained(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make(fill_usual)
    verdict = json.loads(run(out, "status", "hand", "--json"))["verdict"]

    said = everywhere(out, monkeypatch)

    assert verdict["sentence"] == (
        "Not confirmed: trial 1 scored 1.000 in the search, at 2.50 of 3 nats of KL."
    )
    assert [place for place, text in said.items() if verdict["sentence"] not in text] == []
    assert verdict["advice"] == ""
    assert "go on with ppo-tune train" in said["report"]


def test_a_study_in_which_everything_failed_says_what_to_change(make: Callable[..., Path]) -> None:
    out = make(fill_all_failed)

    said = plain(run(out, "report", "hand", "--markdown"))
    status = plain(run(out, "status", "hand"))

    sentence = "No trial was completed within the KL budget of 0.05 nats (6 ended at the KL limit)."
    advice = "In a new study lower learning_rate, raise kl_coef or raise search.kl_budget (0.05 nats now)."
    for text in (said, status, plain((out / "reports/hand/summary.md").read_text(encoding="utf-8"))):
        assert sentence in text
        assert advice in text
    assert not (out / "reports/hand/best.yaml").exists()
    page = plain((out / "reports/hand/index.html").read_text(encoding="utf-8"))
    assert sentence in page
    assert advice in page


def test_a_best_config_of_an_earlier_report_does_not_outlive_its_winner(make: Callable[..., Path]) -> None:
    out = make(fill_all_failed)
    best = out / "reports" / "hand" / "best.yaml"
    best.parent.mkdir(parents=True)
    best.write_text("old", encoding="utf-8")

    run(out, "report", "hand")

    assert not best.exists()


@pytest.mark.parametrize("command", ["search", "confirm"])
def test_nothing_to_go_on_with_has_an_exit_code_of_its_own(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from types import SimpleNamespace

    from ppo_tune.search.storage import load_study_from, stored_config

    out = make(fill_all_failed)
    study = load_study_from(storage_url(out, "hand"), "hand")
    result = SimpleNamespace(study=study, interrupted=False, endings={})
    monkeypatch.setattr("ppo_tune.search.run.run_search", lambda *_, **__: result)
    monkeypatch.setattr("ppo_tune.search.run.run_confirmation", lambda *_, **__: result)
    monkeypatch.setattr("ppo_tune.config.study_file.load_study", lambda *_, **__: stored_config(study))

    done = CliRunner().invoke(
        app, [command, "hand" if command == "confirm" else "hand.yaml", "--out", str(out)]
    )

    assert done.exit_code == 3, done.output
    assert "In a new study lower learning_rate" in done.output
    assert sys.exc_info() == (None, None, None)
