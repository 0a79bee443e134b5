# mypy: ignore-errors
"""The command line as a user meets it: what works says where things are; a mistake is one message and code 2."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from ppo_tune.cli.terminal import printable
from ppo_tune.cli.train import kept
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.study_file import load_study
from ppo_tune.config.training_file import load_training
from ppo_tune.data.prompts import split_of
from ppo_tune.files import read_json
from ppo_tune.fitting.intervals import wilson
from ppo_tune.fitting.quality import Ordering
from ppo_tune.fitting.raters import Agreement
from ppo_tune.fitting.reward_model import CurvePoint, RewardTrainingResult
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.storage import create_study, storage_url
from ppo_tune.search.trial_loop import TrialPack
from ppo_tune.trainer.evaluation import Evaluation
from ppo_tune.training.full_length import TrainingResult
from tests.cli.conftest import Cli
from tests.conftest import save_tiny_model
from tests.reporting.conftest import HandMade, fill_usual
from tests.worlds import THINGS


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with a finished study named `hand`."""
    folder = StudyFolder.of(tmp_path, "hand").path
    folder.mkdir(parents=True)
    fill_usual(HandMade(folder, storage_url(tmp_path, "hand")))
    return tmp_path


MISTAKES = {
    "unknown-block": (
        "tsak: {name: support}",
        r"study\.yaml:1: tsak: unknown block 'tsak'; did you mean 'task'\?",
    ),
    "unknown-key": (
        "task: {name: support}\nppo: {kl_coeff: 1}\nspace: {gamma: {type: float, low: 0.9, high: 1}}",
        r"study\.yaml:2: ppo\.kl_coeff: unknown 'kl_coeff'; did you mean 'kl_coef'\?",
    ),
    "unknown-task": (
        "task: {name: suport}\nspace: {gamma: {type: float, low: 0.9, high: 1}}",
        r"study\.yaml:1: task: unknown 'suport'; did you mean 'support'\?",
    ),
    "unknown-reward": (
        "task: {name: support, reward: {name: rules}}\nspace: {gamma: {type: float, low: 0.9, high: 1}}",
        r"study\.yaml:1: task\.reward: unknown 'rules'; did you mean 'rule'\?",
    ),
    "unknown-sampler": (
        "task: {name: support}\nspace: {gamma: {type: float, low: 0.9, high: 1}}\nsearch: {sampler: tpee}",
        r"study\.yaml:3: search\.sampler: unknown 'tpee'; did you mean 'tpe'\?",
    ),
    "huge-grid": (
        "task: {name: support}\nspace:\n  gamma: {type: float, low: 0.9, high: 1, points: 500}\n"
        "  gae_lambda: {type: float, low: 0.9, high: 1, points: 500}\nsearch: {sampler: grid}",
        r"`cells <= 10000` must hold, but the grid has 250000; use fewer points, another sampler, or --yes",
    ),
    "missing-data": (
        "task: {name: dataset, path: nowhere.jsonl, reward: {name: rule, include: {a: 1.0}}}\nmodel: {name: m}\n"
        "space: {gamma: {type: float, low: 0.9, high: 1}}",
        r"nowhere\.jsonl: no such file \(looked in .*\)",
    ),
    "missing-reward-file": (
        "task: {name: support, reward: {name: python, function: 'nowhere.py:score'}}\n"
        "space: {gamma: {type: float, low: 0.9, high: 1}}",
        r"reward\.function: no such file 'nowhere\.py'",
    ),
}


@pytest.mark.parametrize("command", ["check", "search"])
@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_is_said_with_its_place_before_anything_is_made(
    cli: Cli, tmp_path: Path, command: str, text: str, message: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    out = ["--out", tmp_path / "out"] if command == "search" else []

    outcome = cli(command, path, *out)

    assert outcome.code == 2
    assert re.search(message, outcome.err)
    assert "Traceback" not in outcome.err
    assert not list((tmp_path / "out").glob("**/study.db"))


@pytest.mark.parametrize("command", ["check", "search", "train"])
def test_a_missing_file_is_named(cli: Cli, command: str) -> None:
    outcome = cli(command, "nowhere.yaml")

    assert outcome.code == 2
    assert re.search(r"error: nowhere\.yaml: no such file \(looked in /.*\)", outcome.err)


@pytest.mark.parametrize("command", ["report", "export"])
@pytest.mark.parametrize("name", ["../etc/passwd", "a/b", "", ".hidden", "x" * 101, "a\x00b"])
def test_a_study_name_cannot_leave_its_folder(cli: Cli, tmp_path: Path, command: str, name: str) -> None:
    outcome = cli(command, name, "--out", tmp_path)

    assert outcome.code == 2
    assert "study name: must be letters, digits, dots, dashes and underscores" in outcome.err
    assert "`ppo-tune list` says which studies there are" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_was_never_started_is_said_so(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("report", "other", "--out", tmp_path)

    assert outcome.code == 2
    assert "there is no study 'other' at" in outcome.err
    assert "start it with `ppo-tune search`" in outcome.err


def test_an_output_folder_that_cannot_be_written_is_named(
    cli: Cli, tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    path = write_study()
    (tmp_path / "file").write_text("", encoding="utf-8")

    outcome = cli("search", path, "--out", tmp_path / "file")

    assert outcome.code == 2
    assert re.search(
        r"folder .*file/runs/small cannot be written \(Not a directory\); choose another with --out",
        outcome.err,
    )


def test_a_changed_study_is_refused_with_a_readable_difference(
    cli: Cli, tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    path = write_study()
    create_study(load_study(path), _store(tmp_path), {})
    write_study(space={"learning_rate": {"type": "float", "low": 1e-4, "high": 0.5, "log": True}})

    outcome = cli("search", path, "--out", tmp_path)

    assert outcome.code == 2
    assert "space.learning_rate.high: 0.1 before, 0.5 now" in outcome.err


def _store(out: Path) -> str:
    StudyFolder.of(out, "small").path.mkdir(parents=True)
    return storage_url(out, "small")


def test_a_data_set_smaller_than_one_rollout_is_refused(cli: Cli, write_study: Callable[..., Path]) -> None:
    path = write_study(ppo={"rollout_size": 512, "batch_size": 4, "episodes": 512})

    outcome = cli("check", path)

    assert outcome.code == 2
    assert "`prompts >= rollout_size` must hold, but of 60 different prompts" in outcome.err
    assert "lower it or add rows" in outcome.err


def test_check_counts_trials_and_episodes_and_says_what_may_surprise(
    cli: Cli, write_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppo_tune.search.check.warm_start", lambda *_, **__: None)  # study early is not there
    space = {
        "clip_range": {"type": "float", "low": 0.1, "high": 0.3},
        "batch_size": {"type": "categorical", "choices": [8]},
    }

    search = {"confirm_top": 5, "confirm_seeds": 5, "warm_start": "early"}
    outcome = cli("check", write_study(space=space, search=search))

    assert outcome.code == 0
    assert "task       dataset\n" in outcome.out
    assert (
        "trials     4, by random, pruned by none; the default is trial 0, then the best configs of study early"
        in outcome.out
    )
    assert "episodes   32 per trial, at most 128 in all" in outcome.out
    counts = Counter(split_of(f"a {thing}") for thing in THINGS)
    assert (
        f"prompts    {counts['train']} to train on, {counts['heldout']} held out, of which 6 "
        f"score a trial at a milestone and {min(24, counts['heldout'])} at its end, "
        f"{counts['confirmation']} for confirmation"
    ) in outcome.out
    assert "scored at  16, 32 episodes" in outcome.out
    assert (
        "confirmed  the best 3 and the default, on 5 fresh seeds: at most 20 runs, 640 episodes"
        in outcome.out
    )
    assert "note: clip_range is inert: with one optimizer step per rollout" in outcome.out
    assert (
        "note: trial 0, the default config, uses batch_size = 8: the default 32 is outside the space"
        in outcome.out
    )


def test_check_says_whether_a_quarter_of_the_episodes_pays_for_a_confirmation(
    cli: Cli, write_study: Callable[..., Path]
) -> None:
    space = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}}

    alone = cli("check", write_study(search={"n_trials": 1, "confirm_top": 3}))
    few = cli("check", write_study(space=space, search={"confirm_top": "auto", "n_trials": 23}))
    enough = cli("check", write_study(space=space, search={"confirm_top": "auto", "n_trials": 24}))

    assert "confirmed  not: trial 0, the default config, is the only one" in alone.out
    assert "confirmed  not: a quarter of what about 23 whole trials take does not pay for 8 runs" in few.out
    assert "`ppo-tune confirm` makes them" in few.out
    assert (
        "confirmed  the best 3 and the default, on 2 fresh seeds where pruning leaves enough: at most 8 runs, "
        "256 episodes"
    ) in enough.out


def test_check_says_what_ends_a_search(cli: Cli, write_study: Callable[..., Path]) -> None:
    episodes = cli(
        "check", write_study(search={"n_trials": None, "max_episodes": 1024, "confirm_top": "auto"})
    ).out
    pruned = cli(
        "check", write_study(search={"n_trials": 40, "milestones": 10, "pruner": "successive_halving"})
    ).out
    seconds = cli("check", write_study(search={"n_trials": 9, "max_seconds": 60})).out

    assert "trials     until 1,024 episodes pay for no more, by random" in episodes
    assert "episodes   32 per trial, about 1,024 in all" in episodes
    assert "confirmed  the best 3 and the default, on 2 fresh seeds" in episodes
    assert "episodes   32 per trial, about 960 in all where pruning ends trials, at most 1,280" in pruned
    assert "trials     9 or until 60 seconds are over, by random" in seconds


def test_check_says_what_surprises_in_a_data_file(
    cli: Cli, write_study: Callable[..., Path], small_world: Path, tmp_path: Path
) -> None:
    rows = (small_world / "prompts.jsonl").read_text(encoding="utf-8")
    (tmp_path / "more.jsonl").write_text(rows + '\n{"prompt": "None"}', encoding="utf-8")
    path = write_study(task={"path": str(tmp_path / "more.jsonl")}, search={"n_trials": 1})
    note = f"note: {tmp_path}/more.jsonl: column 'prompt' holds the text 'None' in 1 row; was the cell empty?"

    checked = cli("check", path)

    assert note in checked.out


def test_check_names_the_world_of_the_embedded_task(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    space = "space: {gamma: {type: float, low: 0.9, high: 1}}\n"
    path.write_text("task: {name: support, seed: 3}\n" + space, encoding="utf-8")

    assert "task       support (seed 3)\n" in cli("check", path).out


def test_check_loads_no_model(write_study: Callable[..., Path], small_world: Path, tmp_path: Path) -> None:
    model = tmp_path / "model-without-weights"
    shutil.copytree(small_world / "model", model)
    (model / "model.safetensors").unlink()
    path = write_study(model={"name": str(model)})

    outcome = subprocess.run(
        [sys.executable, "-m", "ppo_tune", "check", path], capture_output=True, text=True, check=False
    )

    assert outcome.returncode == 0, outcome.stderr
    assert "is a valid study" in outcome.stdout


def test_check_says_how_long_prompts_are_and_what_there_is_to_do(
    cli: Cli, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_study()

    words, facts = cli("check", path, "--out", tmp_path), cli("check", path, "--out", tmp_path, "--json")

    assert words.out.startswith(f"{path} is a valid study.\n")
    assert (
        "  tokens     2 in the median prompt, 2 in the longest; 4 for a response, in a context that holds prompts of "
        "60 at most\n" in words.out
    )
    told = json.loads(facts.out)
    assert told["lengths"] == {"median": 2, "longest": 2, "room": 60, "dropped": 0, "cut": 0}
    assert (told["name"], told["exists"], told["n_trials"], told["takes"]) == ("small", False, 4, None)


@pytest.mark.slow
def test_check_measures_memory_and_minutes(
    cli: Cli, write_study: Callable[..., Path], tmp_path: Path
) -> None:
    measured = cli("check", write_study(), "--measure", "--workers", 2, "--out", tmp_path)

    assert measured.code == 0, measured.err
    assert re.search(
        r"\n  memory     0\.\d GB per worker, \d\.\d GB for all on one device, of ", measured.out
    )
    assert re.search(
        r"\n  time       about \d+ s per whole trial; about \d+ s for the search by 2 w", measured.out
    )
    assert not (tmp_path / "runs").exists()


def test_check_refuses_a_model_that_is_nowhere(cli: Cli, write_study: Callable[..., Path]) -> None:
    refused = cli("check", write_study(model={"name": "nowhere/at-all"}))

    assert refused.code == 2
    assert refused.err.startswith("error: model 'nowhere/at-all': no such folder (looked in ")


def test_report_and_export_say_where_things_are(cli: Cli, finished: Path) -> None:
    report = cli("report", "hand", "--out", finished)
    export = cli("export", "hand", "--out", finished, "--print")
    written = cli("export", "hand", "--out", finished)

    folder = finished / "reports" / "hand"
    assert report.code == export.code == written.code == 0, report.err
    assert f"report     {folder / 'index.html'}" in report.out
    assert f"go on with ppo-tune extend hand --out {finished}" in report.out  # one of its trials was cut off
    assert export.out == (folder / "best.yaml").read_text(encoding="utf-8")
    assert export.out == (finished / "exports" / "hand-native" / "best.yaml").read_text(encoding="utf-8")
    best = load_training(folder / "best.yaml")
    assert best.name == "hand"
    assert best.ppo.learning_rate == 1e-3
    assert best.ppo.episodes == 4 * 640
    assert best.kl_budget == 3.0


def test_export_without_a_winner_says_what_to_do(
    cli: Cli, tmp_path: Path, make_study: Callable[..., object]
) -> None:
    create_study(make_study(), _store(tmp_path), {})  # type: ignore[arg-type]

    outcome = cli("export", "small", "--out", tmp_path)

    assert outcome.code == 2
    assert (
        "study 'small' has no trial with `kl_per_sequence <= 100` that holds up yet; run more trials"
        in outcome.err
    )


def test_a_whole_life_sft_reward_train_evaluate(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {"question": f"what is {i}", "answer": "it is so" if i % 2 else "no it is not"} for i in range(80)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pairs = [{"prompt": f"what is {i}", "chosen": "it is so", "rejected": "no it is not"} for i in range(80)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    config = {
        "name": "life",
        "task": {"name": "dataset", "path": str(tmp_path / "data.jsonl"), "prompt": "question", "heldout_prompts": 4,
                 "reward": {"name": "preference", "model": str(tmp_path / "reward")}},
        "model": {"name": str(tmp_path / "base"), "lora_rank": 2},
        "ppo": {"rollout_size": 8, "batch_size": 8, "episodes": 16, "max_new_tokens": 4, "learning_rate": 0.01},
    }  # fmt: skip
    (tmp_path / "life.yaml").write_text(json.dumps(config), encoding="utf-8")

    sft = cli("sft", tmp_path / "data.jsonl", "--prompt", "question", "--reference", "answer", "--layers", 1,
              "--width", 16, "--vocab-size", 300, "--out", tmp_path / "base")  # fmt: skip
    reward = cli("reward", tmp_path / "pairs.jsonl", "--base", tmp_path / "base", "--out", tmp_path / "reward",
                 "--max-new-tokens", 4)  # fmt: skip
    train = cli("train", tmp_path / "life.yaml", "--out", tmp_path / "trained", "--seed", 5)
    written = tmp_path / "trained" / "config.json"
    judged = cli("evaluate", tmp_path / "trained" / "model", "--config", written, "--samples", 2)
    by_flag = cli("evaluate", tmp_path / "trained" / "model", "--config", tmp_path / "life.yaml", "--seed", 5)
    heldout = cli("evaluate", tmp_path / "trained" / "model", "--config", written, "--split", "heldout")

    assert sft.code == 0, sft.err
    assert re.search(r"[\d,]+ parameters, 76 examples, held-out loss \d\.\d+ nats per token", sft.out)
    assert reward.code == 0, reward.err
    assert re.search(
        r"72 preferences, held-out accuracy [01]\.\d+ on 8 pairs \(95 % interval [01]\.\d+ to [01]\.\d+\); base "
        r"samples had mean",
        reward.out,
    )
    assert train.code == 0, train.err
    assert f"model      {tmp_path / 'trained' / 'model'}" in train.out
    assert re.search(r"16 episodes: milestone score -?\d+\.\d{3} ± \d+\.\d{3}, KL ", train.out)
    assert f"go on with ppo-tune evaluate {tmp_path / 'trained' / 'model'} --config {written}" in train.out
    assert judged.code == 0, judged.err
    assert judged.out.count("[score ") == 2
    stored = read_json(tmp_path / "trained" / "evaluation.json")
    for name in ("score", "score_standard_error", "response_tokens", "eos_rate"):
        before, after = (f"{stored[when][name]:.3f}" for when in ("before", "after"))
        assert re.search(rf"^ {name} +{before} +{after} *$", train.out, re.MULTILINE)
        assert re.search(rf"^ {name} +{after} *$", judged.out, re.MULTILINE)
    assert (
        "so the best of them reads too high; the model that is kept is measured anew at the end" in train.out
    )
    assert f"measured on {stored['measured_on']}" in train.out
    assert f"measured on {stored['measured_on']}" in judged.out
    assert by_flag.out.startswith(judged.out.partition("\n\n")[0])
    assert "measured on 4 held-out prompts, with the random numbers of the config's milestones" in heldout.out


def test_an_adapter_is_evaluated_as_the_model_that_it_is_merged_into(
    cli: Cli, write_study: Callable[..., Path], small_world: Path, tmp_path: Path
) -> None:
    written, study = tmp_path / "life.yaml", load_study(write_study())
    blocks = study.model_dump(mode="json", include={"task", "model", "ppo"})
    written.write_text(json.dumps({**blocks, "ppo": {**blocks["ppo"], "episodes": 16}}), encoding="utf-8")
    train = cli("train", written, "--out", tmp_path / "trained")
    adapter = tmp_path / "trained" / "adapter"
    wrong = save_tiny_model(tmp_path / "wrong")  # has one block more

    merged = cli("evaluate", tmp_path / "trained" / "model", "--config", written)
    named = cli("evaluate", adapter, "--config", written)
    given = cli("evaluate", adapter, "--config", written, "--base", small_world / "model")
    refused = cli("evaluate", adapter, "--config", written, "--base", wrong)
    needless = cli("evaluate", tmp_path / "trained" / "model", "--config", written, "--base", wrong)

    assert train.code == 0, train.err
    assert merged.out == named.out == given.out
    assert "score" in merged.out
    assert (refused.code, needless.code) == (2, 2)
    assert refused.err.startswith(
        f"error: adapter '{adapter}' does not fit its base, model folder '{wrong}', "
    )
    assert needless.err.endswith(f"is a whole model, so it has no base '{wrong}'; leave base out\n")


def test_two_models_are_compared_on_the_same_prompts(
    cli: Cli, write_study: Callable[..., Path], small_world: Path, tmp_path: Path
) -> None:
    file, other = write_study(), save_tiny_model(tmp_path / "other", initializer_range=0.5)

    done = cli(
        "evaluate", other, "--config", file, "--against", small_world / "model", "--samples", 0, "--json"
    )
    itself = cli("evaluate", other, "--config", file, "--against", other, "--samples", 0)
    alone = [cli("evaluate", model, "--config", file, "--json") for model in (other, small_world / "model")]

    assert done.code == 0, done.err
    ours, theirs = (json.loads(one.out)["score"] for one in alone)
    found = json.loads(done.out)
    (score, *_) = found["versus"]
    assert found["against"] == str(small_world / "model")
    assert score["difference"] == pytest.approx(ours - theirs, abs=1e-6)
    assert score["interval"][0] < score["difference"] < score["interval"][1]
    assert f"score +0.000 over {other}" in itself.out.replace("\n", " ")
    assert "better on 50% of the prompts" in itself.out.replace("\n", " ")
    assert 0 < found["distinct_1"] <= 1
    assert "self_bleu" in itself.out


def test_a_model_to_compare_with_that_is_nowhere_is_told_before_any_is_loaded(
    cli: Cli,
    write_study: Callable[..., Path],
    small_world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ppo_tune.trainer.assembly.load_to_judge", None)

    done = cli(
        "evaluate", small_world / "model", "--config", write_study(), "--against", tmp_path / "nowhere"
    )

    assert done.code == 2
    assert "nowhere" in done.err
    assert "no such folder" in done.err


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_evaluate_reproduces_what_a_study_says_of_its_base(
    cli: Cli, write_study: Callable[..., Path], tmp_path: Path, micro_batch_size: int | None
) -> None:
    """The two micro-batches agree with one record, and so with each other."""
    plan = SearchPlan(load_study(write_study(search={"seed": 5})))
    TrialPack(plan, tmp_path, places=2).join(optuna.create_study())
    base = read_json(tmp_path / "base.json")

    file = write_study("again", search={"seed": 5}, ppo={"micro_batch_size": micro_batch_size})
    model = load_study(file).model.name
    judged = cli("evaluate", model, "--config", file, "--split", "heldout", "--samples", 0)

    assert judged.code == 0, judged.err
    for name in ("score", "score_standard_error", "response_tokens", "eos_rate"):
        assert re.search(rf"^ {name} +{base[f'heldout/{name}']:.3f} *$", judged.out, re.MULTILINE)


def test_a_reward_model_at_chance_is_said_to_be(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}', encoding="utf-8")
    notes = ("of \x1b[31m data",)
    fitted = RewardTrainingResult(
        "pairs",
        3600,
        400,
        0.4925,
        wilson(0.4925, 400),
        400,
        400,
        0.1,
        2.0,
        calibration_error=0.25,
        notes=notes,
    )
    monkeypatch.setattr("ppo_tune.fitting.reward_model.fit_reward", lambda *_, **__: fitted)

    outcome = cli("reward", tmp_path / "pairs.jsonl", "--base", "base", "--out", tmp_path / "reward")

    assert outcome.out.splitlines()[:4] == [
        "note: of ␛[31m data",
        "3,600 preferences, held-out accuracy 0.492 on 400 pairs (95 % interval 0.444 to 0.541); base samples had mean "
        "0.100 and standard deviation 2.000, now 0 and 1",
        "rank correlation -0.02 (-0.11 to 0.08), calibration error 0.250",
        "careful: the reward model cannot be told from chance, 0.5, so a policy trained on it learns nothing that is "
        "preferred; give more data, more epochs or another learning rate",
    ]


def test_all_that_is_known_of_a_reward_model_is_said(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"prompt": "a", "response": "b", "rating": 1}\n{"prompt": "a", "response": "c", "rating": 2}\n',
        encoding="utf-8",
    )
    ordered = Ordering(0.8, (0.7, 0.9), 60, 40)
    fitted = RewardTrainingResult(
        "ratings", 1200, 150, 0.75, (0.7, 0.8), 90, 40, 0.1, 2.0, calibration_error=0.1,
        agreement=Agreement(0.81, 1200), curve=(CurvePoint(300, 0.6, (0.5, 0.7)), CurvePoint(1200, 0.75, (0.7, 0.8))),
        attributes=(("true", ordered),), teacher=ordered,
    )  # fmt: skip
    monkeypatch.setattr("ppo_tune.fitting.reward_model.fit_reward", lambda *_, **__: fitted)

    outcome = cli("reward", tmp_path / "a.jsonl", "--base", "base", "--out", tmp_path / "reward")

    assert outcome.out.splitlines()[:6] == [
        "1,200 rated responses, held-out accuracy 0.750 on 90 pairs of 40 prompts (95 % interval 0.700 to 0.800); base "
        "samples had mean 0.100 and standard deviation 2.000, now 0 and 1",
        "rank correlation 0.50 (0.40 to 0.60), calibration error 0.100 standard deviations of a rating",
        "true: accuracy 0.800 (95 % interval 0.700 to 0.900)",
        "the teacher, which reads the comments: accuracy 0.800 (95 % interval 0.700 to 0.900)",
        "learning curve, accuracy by rows learned from: 0.600 from 300, 0.750 from 1,200",
        "raters agree among themselves in 0.810 of 1,200 comparisons of the same responses",
    ]


def test_a_template_of_sft_that_names_no_column_is_told_with_the_columns(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "response": "b"}\n' * 3, encoding="utf-8")

    outcome = cli(
        "sft", tmp_path / "data.jsonl", "--template", "{topic}: {prompt}", "--out", tmp_path / "base"
    )

    assert outcome.code == 2
    assert (
        outcome.err
        == "error: --template: there is no column 'topic' for '{topic}: {prompt}'; the file has prompt, response\n"
    )


@pytest.mark.parametrize(
    ("budget", "milestone", "kl", "expected"),
    [
        (None, None, 3.0, "kept       the model after 640 episodes, the last"),
        (
            4.0,
            0.943,
            3.0,
            "kept       the model after 640 episodes, whose milestone scored 0.943, the best within the KL budget of 4 "
            "nats",
        ),
        (
            2.0,
            0.943,
            2.3,
            "kept       the model after 640 episodes, whose milestone scored 0.943, the best within the KL budget of 2 "
            "nats; careful: measured again its KL is 2.30, beyond the budget",
        ),
        (
            2.0,
            None,
            3.0,
            "careful: no milestone stayed within the KL budget of 2 nats, and the last is kept, at 3.00; look at what "
            "it writes, and train shorter or with a higher kl_coef",
        ),
    ],
)
def test_train_says_which_model_it_kept(
    budget: float | None, milestone: float | None, kl: float, expected: str
) -> None:
    judged = Evaluation(1.0, 0.1, kl, 5.0, 1.0, ())
    config = TrainConfig.model_validate({"task": {"name": "support"}, "kl_budget": budget})

    assert kept(TrainingResult(Path(), Path(), 640, judged, judged, milestone), config) == expected


def test_train_again_into_the_same_folder_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "trained" / "checkpoints" / "episodes-0000000064").mkdir(parents=True)
    (tmp_path / "best.yaml").write_text("task: {name: dataset}", encoding="utf-8")

    outcome = cli("train", tmp_path / "best.yaml", "--out", tmp_path / "trained")

    assert outcome.code == 2
    assert "task.path: is missing" in outcome.err
    assert "task.reward: is missing" in outcome.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["search"], ["search", "x.yaml", "--workers", "0"]])
def test_a_wrong_call_exits_with_2(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


def test_help_names_every_command(cli: Cli) -> None:
    outcome = cli("--help")

    assert outcome.code == 0
    for command in (
        "check", "search", "confirm", "report", "compare", "export", "status", "dashboard", "train", "evaluate",
        "sft", "reward",
    ):  # fmt: skip
        assert re.search(rf"^  {command} ", outcome.out, re.MULTILINE)


def test_a_response_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x9bc\n") == "a␛[31mb␇‹U+009B›c␊"
