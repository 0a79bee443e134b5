"""The command `export`: which files it writes where, what it says, what it refuses, what it knows of a winner."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppo_tune.cli.export import export
from ppo_tune.config.rewards import PreferenceRewardConfig, RuleRewardConfig
from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig
from ppo_tune.config.training_file import load_training
from ppo_tune.data.prompts import split_of
from ppo_tune.errors import ConfigError, PPOTuneError, StorageError
from ppo_tune.export import TARGETS, Scale, export_study, other_trainers
from ppo_tune.export.base import TokenFacts
from ppo_tune.export.gather import confirmed, winner_of
from ppo_tune.files import write_json
from ppo_tune.rewards.score_format import ScoreFormat
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.race import Candidate, Confirmation, Run
from ppo_tune.search.storage import load_study_from, storage_url, stored_config
from ppo_tune.tasks.embedded import build_models
from ppo_tune.tasks.recipe import asked
from ppo_tune.tasks.worlds import world_of
from tests.conftest import save_tiny_model
from tests.reporting.conftest import HandMade, fill_usual

TASK = {
    "name": "dataset",
    "path": "prompts.jsonl",
    "template": "Q: {prompt}",
    "reward": {"name": "python", "function": "reward.py:score"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study named `hand`, over prompts of a file, with a model and a reward of one's own."""
    here = tmp_path_factory.mktemp("finished")
    rows = (json.dumps({"prompt": f"say {i}", "size": i}) for i in range(50))
    (here / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (here / "reward.py").write_text("def score(prompts, responses, **columns):\n    return [0.0]\n", "utf-8")
    (here / "model").mkdir()
    folder = StudyFolder.of(here, "hand").path
    folder.mkdir(parents=True)
    hand = HandMade(folder, storage_url(here, "hand"))
    model = hand.config.model.model_copy(update={"name": "model"})
    task = DatasetTaskConfig.model_validate(TASK)
    hand.config = hand.config.model_copy(update={"task": task, "model": model})
    hand.study.set_user_attr("config", hand.config.model_dump(mode="json"))
    fill_usual(hand)
    return here


@pytest.fixture
def out(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    here = tmp_path / "here"
    shutil.copytree(finished, here)
    monkeypatch.chdir(here)
    return here


def run(**flags: Any) -> None:
    """The command on that study."""
    export(**{"study": "hand", "out": Path(), **_defaults(), **flags})


def _defaults() -> dict[str, Any]:
    return {
        "to": "native", "trial": None, "folder": None, "params_ratio": None, "response_length": None, "force": False,
        "to_terminal": False, "storage": None, "copy_models": False,
    }  # fmt: skip


def winner(out: Path, *, with_sources: bool = True) -> Any:
    """What is known of the study's winner."""
    study = load_study_from(storage_url(out, "hand"), "hand")
    return winner_of(study, stored_config(study), out=out, with_sources=with_sources)


def test_our_own_format_is_written_to_a_folder_of_its_own(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()

    folder = out / "exports" / "hand-native"
    assert {path.name for path in folder.iterdir()} == {
        "best.yaml",
        "README.md",
        "metrics.json",
        "provenance.json",
        "data",
        "functions",
        "model",
    }
    best = load_training(folder / "best.yaml")
    assert (best.ppo.learning_rate, best.ppo.episodes) == (1e-3, 4 * 640)
    told = capsys.readouterr().out
    assert f"wrote      {Path('exports/hand-native/best.yaml')}" in told
    assert f"wrote      {Path('exports/hand-native/functions/reward.py')}" in told
    assert "note: model is only a link to model, and to another machine that folder must go along: " in told
    assert "go on with ppo-tune train exports/hand-native/best.yaml" in told


def test_folders_of_models_are_copied_on_request(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(copy_models=True)

    assert (out / "exports" / "hand-native" / "model").is_dir()
    assert not (out / "exports" / "hand-native" / "model").is_symlink()
    assert "note: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "files", "told"),
    [
        ("openrlhf", {"train.sh", "reward.py"}, "2 things that openrlhf cannot do: see "),
        ("verl", {"train.sh", "reward.py"}, "2 things that verl cannot do: see "),
        ("skyrl", {"train.sh", "train.py"}, "3 things that skyrl cannot do: see "),
        ("trl", {"train.py"}, "1 thing that trl cannot do: see exports/hand-trl/train.py"),
    ],
)
def test_another_trainers_files_are_written_and_what_they_lose_is_counted(
    out: Path, capsys: pytest.CaptureFixture[str], target: str, files: set[str], told: str
) -> None:
    run(to=target)

    everywhere = {"README.md", "prompts.jsonl", "functions", "model"}
    assert {path.name for path in (out / "exports" / f"hand-{target}").iterdir()} == files | everywhere
    said = capsys.readouterr().out
    assert told in said
    assert f"that {target} does otherwise: see exports/hand-{target}/train." in said


def test_another_trial_can_be_handed_on_and_is_said_to_be_chosen_by_hand(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(trial=0)

    folder = out / "exports" / "hand-trial-0-native"
    assert load_training(folder / "best.yaml").ppo.learning_rate == 1e-4
    assert "# from: study hand, trial 0, " in (folder / "best.yaml").read_text(encoding="utf-8")
    assert "Trial 0 was chosen by hand. Not confirmed: trial 1 " in capsys.readouterr().out
    assert export_study("hand", trial=1).files == export_study("hand").files


@pytest.mark.parametrize(
    ("number", "what"), [(3, "ended as pruned"), (6, "ended as running"), (9, "is not there")]
)
def test_a_trial_that_was_not_completed_is_not_handed_on(out: Path, number: int, what: str) -> None:
    with pytest.raises(PPOTuneError) as refused:
        export_study("hand", trial=number)

    assert str(refused.value) == (
        f"trial {number} of study 'hand' {what}, and only a completed one can be handed on: 0, 1, 2"
    )


def test_the_main_file_can_be_printed_with_files_as_named_from_here_and_nothing_is_written(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    capsys.readouterr()
    before = sorted(out.rglob("*"))

    run(to_terminal=True)

    printed = capsys.readouterr().out
    assert sorted(out.rglob("*")) == before
    (out / "best.yaml").write_text(printed, encoding="utf-8")
    names = {named.place: named.value for named in load_training("best.yaml").names()}
    assert names == {
        "task.path": "prompts.jsonl", "task.reward.function": "reward.py:score", "model.name": "model",
    }  # fmt: skip
    written = (out / "exports" / "hand-native" / "best.yaml").read_text(encoding="utf-8")
    assert written == (
        printed.replace("path: prompts", "path: data/prompts")
        .replace("function: reward", "function: functions/reward")
        .replace("name: model", "name: ./model")
    )


def test_another_trainers_main_file_is_printed_as_it_is_written(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(to="openrlhf")
    capsys.readouterr()

    run(to="openrlhf", to_terminal=True)

    assert capsys.readouterr().out == (out / "exports" / "hand-openrlhf" / "train.sh").read_text(
        encoding="utf-8"
    )


def test_a_folder_that_holds_something_is_left_alone_unless_forced(out: Path) -> None:
    folder = out / "mine"
    folder.mkdir()
    (folder / "best.yaml").write_text("precious", encoding="utf-8")

    with pytest.raises(
        StorageError,
        match=r"mine holds something already; choose another with `folder`, or insist with `force=True`",
    ):
        run(folder=folder)

    assert (folder / "best.yaml").read_text(encoding="utf-8") == "precious"
    assert len(list(folder.iterdir())) == 1
    run(folder=folder, force=True)
    assert load_training(folder / "best.yaml").name == "hand"


def test_a_file_in_the_folders_place_is_left_alone(out: Path) -> None:
    (out / "mine").write_text("precious", encoding="utf-8")

    with pytest.raises(StorageError, match="holds something already"):
        run(folder=out / "mine")

    assert (out / "mine").read_text(encoding="utf-8") == "precious"


def test_an_empty_folder_is_used(out: Path) -> None:
    (out / "mine").mkdir()

    run(folder=out / "mine", to="trl")

    assert (out / "mine" / "train.py").is_file()


def test_an_unknown_target_is_refused_before_anything_is_read(out: Path) -> None:
    with pytest.raises(
        ConfigError, match="to: must be one of native, openrlhf, verl, skyrl, trl, but got 'yaml'"
    ):
        run(to="yaml", study="no-such-study")


def test_a_wrong_scale_is_refused_by_its_flag(out: Path) -> None:
    with pytest.raises(ConfigError, match="params_ratio: must be positive, but got -1"):
        run(params_ratio=-1.0)


def test_a_larger_run_adds_suggestions_and_changes_nothing(out: Path) -> None:
    run()
    run(folder=out / "larger", params_ratio=8.0, response_length=256)

    best, plain = (
        (out / f / "best.yaml").read_text(encoding="utf-8") for f in ("larger", "exports/hand-native")
    )
    suggested = load_training(out / "larger" / "suggested.yaml")
    assert best == plain
    assert suggested.ppo.max_new_tokens == 256
    assert suggested.ppo.learning_rate == pytest.approx(1e-3 * 8**-0.375, rel=1e-5)


def test_another_trainer_gets_the_length_of_the_longest_prompt_in_tokens(out: Path) -> None:
    assert winner(out).sources.tokens == TokenFacts()  # the model's folder is empty

    save_tiny_model(out / "model", n_positions=64)
    run(to="openrlhf")

    known = winner(out)
    room = 3 + known.config.ppo.max_new_tokens  # Q:, say, a number
    assert (known.sources.tokens.longest_prompt, known.sources.tokens.context) == (3, 64)
    script = (out / "exports" / "hand-openrlhf" / "train.sh").read_text(encoding="utf-8")
    assert f"--data.max_len {room} " in script


def test_another_trainer_is_told_the_gain_of_a_reward_model(out: Path) -> None:
    ScoreFormat(gain=0.69).write(out / "model")
    reward = {"name": "preference", "model": "model"}
    study = load_study_from(storage_url(out, "hand"), "hand")
    config = stored_config(study)
    task = config.task.model_copy(update={"reward": PreferenceRewardConfig.model_validate(reward)})

    known = winner_of(study, config.model_copy(update={"task": task}), out=out, with_sources=True)

    assert known.sources.gain == 0.69
    assert winner(out).sources.gain is None  # a function has none


def test_another_trainer_is_told_places_in_the_folder_and_the_training_prompts_as_they_were_given(
    out: Path,
) -> None:
    known = winner(out)
    trained = [f"Q: say {i}" for i in range(50) if split_of(f"Q: say {i}") == "train"]

    assert known.sources.model == "model"
    assert known.sources.reward.function == "functions/reward.py:score"
    assert {e.name: e.source.resolve() for e in known.sources.enclosures} == {
        "model": out / "model",
        "functions/reward.py": out / "reward.py",
    }
    assert [prompt.text for prompt in known.sources.prompts] == trained
    assert known.sources.prompts[0].columns["size"] in range(50)
    assert winner(out, with_sources=False).sources.prompts is None


def test_prompts_that_are_gone_are_said_to_be(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "prompts.jsonl").unlink()

    run(to="trl")

    text = (out / "exports" / "hand-trl" / "train.py").read_text(encoding="utf-8")
    assert "they could not be read (prompts.jsonl: no such file)" in text
    assert f"note: the prompts do not go along: prompts.jsonl: no such file (looked in {out})" in (
        capsys.readouterr().out
    )
    assert "PROMPTS = HERE / 'YOUR_PROMPTS.jsonl'" in text


def test_another_trainer_is_given_a_hub_name_without_its_revision_and_that_is_said(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study_from(storage_url(out, "hand"), "hand")
    config = stored_config(study)
    reward = PreferenceRewardConfig(name="preference", model="org/judge@v2")
    task = config.task.model_copy(update={"reward": reward})
    model = config.model.model_copy(update={"name": "org/base@v1"})
    named = config.model_copy(update={"task": task, "model": model})

    known = winner_of(study, named, out=out, with_sources=True)

    assert known.sources.reward is not None
    assert known.sources.model == "org/base"
    assert known.sources.reward.names()[0].value == "org/judge"
    for target in other_trainers():
        told = [str(remark) for remark in TARGETS[target](known, Scale()).conversion.approximated]
        for repo, revision in (("org/base", "v1"), ("org/judge", "v2")):
            assert (
                f"{repo} was tuned at revision {revision}, and here the hub's newest is read: where that is another, "
                f"run `hf download {repo} --revision {revision} --local-dir FOLDER` and name FOLDER in its place"
            ) in told
    assert winner_of(study, named, out=out, with_sources=False).config.model.name == "org/base@v1"


def test_what_is_not_here_is_told_and_no_training_is_advised(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "reward.py").unlink()

    run()

    told = capsys.readouterr().out
    assert (
        "note: reward.py is not here, so it is not in the folder: put the file of task.reward.function there, as "
        "functions/reward.py"
    ) in told
    assert "go on with" not in told
    card = (out / "exports" / "hand-native" / "README.md").read_text(encoding="utf-8")
    assert (
        "- `functions/reward.py`: the file of task.reward.function; it was not there when this was written: put it here"
    ) in card


def test_a_hub_name_stays_one(out: Path) -> None:
    (out / "model").rmdir()

    assert winner(out).sources.model == "model"


def test_what_the_search_measured_goes_along_with_its_interval(out: Path) -> None:
    write_json(
        StudyFolder.of(out, "hand").path / "base.json",
        {"heldout/score": -0.5, "n_prompts": 25, "samples": []},
    )

    known = winner(out)

    assert known.searched == ("learning_rate", "batch_size", "ppo_epochs")
    assert known.response_tokens == 9.5
    assert known.score_std == pytest.approx(0.1 * 25**0.5)
    assert known.metrics["score"]["mean"] == 1.0
    assert known.metrics["score"]["interval"] == pytest.approx([1 - 0.196, 1 + 0.196])
    assert known.metrics["score"]["over"] == "95 % interval over 25 held-out prompts, one seed"
    assert known.metrics["gold"] == 0.8
    assert known.metrics["kl_per_sequence"] == 2.5
    assert known.provenance["from"] == "study hand, trial 1, 640 episodes long"
    assert known.provenance["score in the search"] == (
        "1.0000, at 2.50 nats of KL: one draw, by which it was chosen"
    )


@pytest.mark.parametrize("target", TARGETS)
def test_an_objective_that_is_not_the_reward_is_told_where_the_score_is_quoted(
    out: Path, target: str
) -> None:
    study = load_study_from(storage_url(out, "hand"), "hand")
    config, line = (
        stored_config(study),
        "# scored by: task.objective (rule), not the reward that PPO maximizes",
    )

    def lines(objective: Any) -> list[str]:
        task = config.task.model_copy(update={"objective": objective})
        judged = config.model_copy(update={"task": task})
        made = TARGETS[target](winner_of(study, judged, out=out, with_sources=False), Scale())
        return made.files[made.main].splitlines()

    told = lines(RuleRewardConfig(name="rule", include={"please": 1.0}))

    assert told[told.index(line) - 1].startswith("# score in the search: ")
    assert line not in lines(None)
    assert line not in lines(config.task.reward)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_embedded_tasks_own_model_reward_and_prompts_are_found(
    small_worlds: Path, tmp_path: Path, seed: int
) -> None:
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    hand = HandMade(folder, storage_url(tmp_path, "hand"))
    task = hand.config.task.model_copy(update={"seed": seed})
    hand.config = hand.config.model_copy(update={"task": task})
    hand.study.set_user_attr("config", hand.config.model_dump(mode="json"))
    fill_usual(hand)

    known = winner(tmp_path)

    world = build_models(EmbeddedTaskConfig(name="support", seed=seed))
    assert known.config.task.seed == seed
    assert (known.sources.model, known.sources.reward.model) == ("model", "reward_model")
    assert {(e.name, e.source, e.is_linked) for e in known.sources.enclosures} == {
        ("model", world / "base", False),
        ("reward_model", world / "reward", False),
    }
    assert [p.text for p in known.sources.prompts] == [
        t for t in asked(world_of("support"), seed, "gpt2") if split_of(t) == "train"
    ]
    assert len(known.sources.prompts) > 2000


@pytest.mark.parametrize("target", other_trainers())
def test_the_encoder_decoder_of_a_task_is_refused_for_trainers_that_have_none(
    small_worlds: Path, tmp_path: Path, target: str
) -> None:
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    hand = HandMade(folder, storage_url(tmp_path, "hand"))
    task = hand.config.task.model_copy(update={"architecture": "t5"})
    hand.config = hand.config.model_copy(update={"task": task})
    hand.study.set_user_attr("config", hand.config.model_dump(mode="json"))
    fill_usual(hand)

    assert export_study("hand", out=tmp_path).files
    with pytest.raises(ConfigError) as error:
        export_study("hand", target, out=tmp_path)

    assert str(error.value) == (
        f"--to: must be native for the task's own model, an encoder–decoder, which {target} does not train; ppo-tune "
        "trains it at full length (ppo-tune train)"
    )


@pytest.mark.parametrize("target", ["openrlhf", "trl"])
def test_an_embedded_task_of_conversations_goes_along_as_messages_and_its_judge_reads_them(
    small_worlds: Path, tmp_path: Path, target: str
) -> None:
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    hand = HandMade(folder, storage_url(tmp_path, "hand"))
    task = EmbeddedTaskConfig(name="dialogue", heldout_prompts=hand.config.task.heldout_prompts)
    hand.config = hand.config.model_copy(update={"task": task})
    hand.study.set_user_attr("config", hand.config.model_dump(mode="json"))
    fill_usual(hand)
    requests = [r for r in world_of("dialogue").prompts(0) if split_of(r.text) == "train"]

    made = TARGETS[target](winner(tmp_path), Scale())

    rows = [json.loads(line) for line in made.files["prompts.jsonl"].splitlines()]
    turns = [row["prompt" if target == "openrlhf" else "turns"] for row in rows]
    assert turns == [request.columns["messages"] for request in requests]
    assert {turn["role"] for one in turns for turn in one} == {"system", "user", "assistant"}
    judge = made.files["reward.py" if target == "openrlhf" else made.main]
    assert "TURNS = 'messages'" in judge
    if target == "openrlhf":
        assert json.loads(rows[0]["label"])["columns"]["messages"] == turns[0]


def confirmation() -> Confirmation:
    """Trial 1 beats the default by exactly 2 on five fresh seeds and two prompts."""

    def candidate(number: int, lead: float) -> Candidate:
        runs = tuple(Run(i, "completed", np.array([i, i + 2.0]) + lead, {}, kl=1.0 + i) for i in range(5))
        return Candidate(number, is_default=number == 0, params={}, search_score=lead, runs=runs)

    return Confirmation((candidate(0, 0.0), candidate(1, 2.0)), np.zeros(2), {}, n_seeds=5, kl_budget=9.0)


def test_fresh_seeds_have_the_last_word() -> None:
    found = confirmed(confirmation(), 1)

    assert found["confirmed_score"]["by_seed"] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert (
        found["confirmed_score"]["mean"] == 5.0
    )  # of 4, 5 and 6: a quarter of five seeds is one at either end
    assert "5 fresh seeds" in found["confirmed_score"]["over"]
    assert found["confirmed_kl_per_sequence"] == 3.0
    assert found["gain_over_default"]["mean"] == 2.0
    assert found["gain_over_default"]["interval"] == [2.0, 2.0]


def test_the_default_gains_nothing_over_itself() -> None:
    assert set(confirmed(confirmation(), 0)) == {"confirmed_score", "confirmed_kl_per_sequence"}
    assert confirmed(confirmation(), 7) == {}
    assert confirmed(None, 0) == {}
