"""The command that hands a study's winner on: to another trainer, or in our own format."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ppo_tune.cli.terminal import Out, Storage, StudyName, app, open_study, say, tell

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from ppo_tune.config.blocks import RewardConfig, StudyConfig
    from ppo_tune.data.prompts import Prompt
    from ppo_tune.export import Export, Sources, Winner
    from ppo_tune.search.verdict import Verdict

Z_95 = 1.96
"""Standard errors on either side of a mean that hold 95 % of a normal distribution."""


@app.command()
def export(
    study: StudyName,
    to: Annotated[
        str, typer.Option(help="native, openrlhf, verl, skyrl, or trl (1.12, the last with PPO).")
    ] = "native",
    folder: Annotated[
        Path | None, typer.Option(help="Folder to write; default: <out>/exports/<study>-<target>.")
    ] = None,
    params_ratio: Annotated[
        float | None, typer.Option(help="Suggest values for a model of so many times the parameters.")
    ] = None,
    response_length: Annotated[
        int | None, typer.Option(help="Suggest values for responses of up to so many tokens.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds something.")] = False,
    to_terminal: Annotated[
        bool, typer.Option("--print", help="Print the main file, and write nothing.")
    ] = False,
    storage: Storage = None,
    out: Out = Path(),
) -> None:
    """Write the best config for full training: in our own format, or for another trainer."""
    from ppo_tune.export import Scale, exporter

    make, scale = exporter(to), Scale(params_ratio, response_length)
    opened, config = open_study(study, storage, out)
    winner = gather(opened, config, out=out, for_others=to != "native")
    made = make(winner, scale)
    if to_terminal:
        sys.stdout.write(made.files[made.main])
        return
    target = folder or out / "exports" / f"{config.name}-{to}"
    _write(made, target, force=force)
    _tell(made, target, to, winner.provenance)


def _write(made: "Export", folder: Path, *, force: bool) -> None:
    """All files of an export, into a folder that is empty unless the user insists.

    Raises:
        StorageError: If it is not, or cannot be written.
    """
    from ppo_tune.errors import StorageError
    from ppo_tune.files import make_folder, write_text

    if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(
            f"{folder} holds something already; choose another with --folder, or insist with --force"
        )
    make_folder(folder)
    for name, text in made.files.items():
        write_text(folder / name, text)


def _tell(made: "Export", folder: Path, target: str, provenance: Mapping[str, str]) -> None:
    from ppo_tune.export.native import ADVICE

    for name in made.files:
        say(f"wrote      {folder / name}")
    tell(provenance["verdict"])
    if ADVICE in provenance:
        tell(provenance[ADVICE])
    elif target == "native":
        say(f"go on with ppo-tune train {shlex.quote(str(folder / made.main))}")
    if target == "native":
        return
    for what, remarks in (
        ("cannot do", made.conversion.unsupported),
        ("does otherwise", made.conversion.approximated),
    ):
        say(
            f"{len(remarks)} thing{'s' if len(remarks) != 1 else ''} that {target} {what}: see {folder / made.main}"
        )


def gather(study: "Study", config: "StudyConfig", *, out: Path, for_others: bool) -> "Winner":
    """What is known of a study's winner.

    Args:
        study: The search.
        config: The experiment.
        out: Holds the study's folder.
        for_others: Whether model, reward and prompts are wanted too, as another trainer finds them.

    Raises:
        PPOTuneError: If there is no winner.
    """
    from ppo_tune.export import Sources, Winner
    from ppo_tune.search.storage import run_folder
    from ppo_tune.search.verdict import read_verdict
    from ppo_tune.search.winner import best_config, winning_trial

    best = best_config(study, config)
    trial = winning_trial(study, config)
    assert trial is not None
    n_prompts = _n_heldout(config, out)
    error = trial.user_attrs.get("heldout/score_standard_error")
    return Winner(
        config=best,
        searched=tuple(config.space),
        provenance=provenance(config, trial, read_verdict(study, config, run_folder(out, config.name))),
        metrics={**_measured(trial, n_prompts), **confirmed(study, config, trial.number)},
        response_tokens=trial.user_attrs.get("heldout/response_tokens"),
        score_std=None if error is None else error * n_prompts**0.5,
        sources=_sources(config) if for_others else Sources(),
    )


def provenance(config: "StudyConfig", trial: "FrozenTrial", verdict: "Verdict") -> dict[str, str]:
    """What a trial's config is worth and where it comes from, as an export's first lines tell it."""
    from ppo_tune.export.native import ADVICE
    from ppo_tune.versions import versions

    value, kl = trial.value, trial.user_attrs.get("heldout/kl_per_sequence")
    told = f"{value:.4f}, at {kl:.2f} nats of KL: one draw, by which it was chosen"
    score = {} if value is None else {"score in the search": told}
    return {
        "verdict": verdict.sentence,
        **({ADVICE: verdict.advice} if verdict.advice else {}),
        "from": f"study {config.name}, trial {trial.number}, {trial.user_attrs['episodes']} episodes long",
        **score,
        "made with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _n_heldout(config: "StudyConfig", out: Path) -> int:
    """How many prompts scored a trial: those asked for, or all there were."""
    from ppo_tune.files import read_json
    from ppo_tune.search.storage import run_folder

    base = run_folder(out, config.name) / "base.json"
    known = read_json(base).get("n_prompts") if base.is_file() else None
    return int(known or config.task.heldout_prompts)


def _measured(trial: "FrozenTrial", n_prompts: int) -> dict[str, Any]:
    """What the search saw of the trial; scores with their intervals over prompts."""
    found: dict[str, Any] = {
        name.removeprefix("heldout/"): value
        for name, value in trial.user_attrs.items()
        if name.startswith("heldout/")
    }
    for name in ("score", "gold"):
        error, mean = found.pop(f"{name}_standard_error", None), found.get(name)
        if error is not None and mean is not None:
            found[name] = {
                "mean": mean,
                "standard_error": error,
                "interval": [mean - Z_95 * error, mean + Z_95 * error],
                "over": f"95 % interval over {n_prompts} held-out prompts, one seed",
            }
    return found


def confirmed(study: "Study", config: "StudyConfig", number: int) -> dict[str, Any]:
    """What fresh seeds and unseen prompts say of a trial; nothing before they are asked."""
    from ppo_tune.search.certainty import bootstrap_interval, interquartile_mean
    from ppo_tune.search.confirmation import read_confirmation

    confirmation = read_confirmation(study, config)
    if confirmation is None:
        return {}
    candidate = next((c for c in confirmation.candidates if c.number == number and len(c.runs) > 1), None)
    if candidate is None:
        return {}
    means, outcome = candidate.seed_means, confirmation.outcome
    found: dict[str, Any] = {
        "confirmed_score": {
            "mean": float(interquartile_mean(means)),
            "interval": list(bootstrap_interval(means)),
            "over": f"interquartile mean with its 95 % interval, {len(means)} fresh seeds, unseen prompts",
            "by_seed": means.tolist(),
        },
        "confirmed_kl_per_sequence": candidate.kl,
    }
    if outcome.gain is not None and outcome.best == number:
        found[f"gain_over_{outcome.rival}"] = {
            "mean": outcome.gain.mean,
            "interval": [outcome.gain.low, outcome.gain.high],
            "over": "95 % interval over seeds and prompts, for the best of those confirmed",
        }
    return found


def _sources(config: "StudyConfig") -> "Sources":
    """Model, reward and training prompts of a study, as another trainer finds them."""
    from ppo_tune.data.prompts import read_prompts, split_of
    from ppo_tune.errors import PPOTuneError

    if config.task.name == "support":
        return _support_sources(config)
    prompts, unread = None, ""
    try:
        prompts = tuple(p for p in read_prompts(config.task)[0] if split_of(p.text) == "train")
    except PPOTuneError as error:
        unread = str(error)
    return _all_known(config, config.model.name, config.task.reward, prompts, unread)


def _support_sources(config: "StudyConfig") -> "Sources":
    """Those of the embedded task, which is built if the cache does not hold it."""
    import torch

    from ppo_tune.config.blocks import PreferenceRewardConfig
    from ppo_tune.tasks import make_task

    task = make_task(config.task, torch.device("cpu"))
    model, reward = config.model.name or task.base_model, config.task.reward
    if (
        reward is None and task.base_model is not None
    ):  # the task's own reward model stands beside its base model
        reward = PreferenceRewardConfig(name="preference", model=str(Path(task.base_model).parent / "reward"))
    return _all_known(config, model, reward, task.prompts["train"])


def _all_known(
    config: "StudyConfig",
    model: str | None,
    reward: "RewardConfig | None",
    prompts: "tuple[Prompt, ...] | None",
    unread: str = "",
) -> "Sources":
    """Model, reward and prompts with what can be read of them: lengths in tokens, and a reward model's gain."""
    from ppo_tune.config.blocks import PreferenceRewardConfig
    from ppo_tune.export import Sources
    from ppo_tune.export.base import TokenFacts
    from ppo_tune.export.token_facts import read_tokens
    from ppo_tune.rewards.preference import read_format

    tokens, kept = TokenFacts(), prompts
    if model is not None and prompts is not None:
        tokens, kept = read_tokens(model, prompts, config.task, response_tokens=config.ppo.max_new_tokens)
    judge = reward if isinstance(reward, PreferenceRewardConfig) else None
    return Sources(
        model=_full_path(model),
        reward=None if reward is None else _located(reward),
        prompts=kept,
        unread=unread,
        tokens=tokens,
        gain=None if judge is None else read_format(judge.model).gain,
    )


def _full_path(name: str | None) -> str | None:
    """A folder by its full path, so that it is found from anywhere; a hub name as it is."""
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def _located(reward: "RewardConfig") -> "RewardConfig":
    """A reward with its files by their full paths."""
    if reward.name == "preference":
        return reward.model_copy(update={"model": _full_path(reward.model)})
    if reward.name == "python":
        path, _, function = reward.function.rpartition(":")
        return reward.model_copy(update={"function": f"{_full_path(path)}:{function}"})
    return reward
