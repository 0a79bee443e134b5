"""One config at full length: periodic evaluation, checkpoints, exact resume, and a model folder at the end.

ppo-tune train reports/quickstart/best.yaml
accelerate launch -m ppo_tune train reports/quickstart/best.yaml      # on several processes
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ppo_tune.calling import argument
from ppo_tune.config.block import differences
from ppo_tune.config.model import RANKLESS, USUAL_ADAPTER, ModelConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.user_files import as_named, as_noted, check_user_files
from ppo_tune.errors import ModelError, StorageError, StudyMismatchError, TrialError
from ppo_tune.events import Watcher
from ppo_tune.files import append_json_line, content_hash, make_folder, read_json, read_json_lines, write_json
from ppo_tune.models import load_adapter
from ppo_tune.models.prefix import starts_beside
from ppo_tune.seeding import derive_seed
from ppo_tune.tasks import prepare_task
from ppo_tune.tracking import Tracked, Tracking
from ppo_tune.trainer.assembly import Assembly, assemble, claim_evaluator, judge
from ppo_tune.trainer.checks import check_run
from ppo_tune.trainer.evaluation import Evaluation, Evaluator
from ppo_tune.trainer.processes import AcceleratedProcesses
from ppo_tune.training.checkpoints import load_checkpoint, save_checkpoint
from ppo_tune.training.folders import checkpoints_in
from ppo_tune.training.outcome import leave, result_in

EVALUATIONS = 10
"""How often a training is scored and saved, its end included."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        folder: Holds config, metrics, checkpoints and the model.
        model: An ordinary Hugging Face folder; that of the adapter, where it cannot be merged.
        episodes: How long the model of the folder was trained: to the best milestone within the KL budget.
        before: The untrained model, on prompts and random numbers that chose nothing.
        after: The model of the folder, as it is loaded from there, on the same.
        milestone: What the milestone scored that chose this model; None where none did.
    """

    folder: Path
    model: Path
    episodes: int
    before: Evaluation
    after: Evaluation
    milestone: float | None = None


class TrainingInterrupted(Exception):
    """The user stopped a training; a checkpoint was saved."""


def train(
    config: TrainConfig,
    *,
    out: Path | str,
    resume: bool = False,
    start: Path | str | None = None,
    watch: Watcher = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train one config to the end of its episodes.

    A training that was stopped and resumed ends, on a CPU, with the very same numbers as one that was not.

    Args:
        config: Task, model, hyperparameters and seed.
        out: The folder to write.
        resume: Go on from the newest whole checkpoint in it.
        start: Folder of an adapter that a trial of the same model left, to begin with, its value head included; the
            reference stays the untrained model, and the optimizer begins anew. None begins untrained.
        watch: Told of every iteration and evaluation, in the main process.
        should_stop: Asked after every iteration; the training then saves itself and stops.

    Returns:
        Where the model is, and how good it was before and after.

    Raises:
        PPOTuneError: If something cannot be used.
        TrialError: If the training diverges or its reward fails.
        TrainingInterrupted: If it was asked to stop.
    """
    accelerator = Accelerator()
    inputs, start = check_user_files(config), None if start is None else Path(start)
    if start is not None:
        inputs.hashes["start"] = _hash_of_adapter(start, config)
    facts = check_run(config)
    if accelerator.is_local_main_process:
        prepare_task(config.task, lambda name, done: watch({"kind": "stage", "name": name, "done": done}))
    accelerator.wait_for_everyone()
    folder = Path(out)
    if accelerator.is_main_process:
        _reserve(folder, config, inputs.hashes, resume=resume)
    accelerator.wait_for_everyone()
    work = assemble(config, device=accelerator.device, processes=AcceleratedProcesses(accelerator))
    claims = claim_evaluator(work.policy, work.task, config)
    tell: Watcher = watch if accelerator.is_main_process else lambda _: None
    for note in (*inputs.notes, *facts.of_scorers, *work.notes):
        tell({"kind": "note", "text": note})
    tracked = Tracked(config.name, config.name, folder, config.ppo.model_dump(mode="json"))
    loggers = config.log if accelerator.is_main_process else ()
    tracking = Tracking(loggers, tracked, warn=lambda text: watch({"kind": "note", "text": text}))
    training = _Training(config, folder, work, claims, tell, tracking, accelerator.is_main_process, start)
    with tracking.finished_after():
        before = training.run(resume=resume, should_stop=should_stop)
    result = [training.finish(before) if accelerator.is_main_process else None]
    broadcast_object_list(result)
    assert result[0] is not None
    return result[0]


@dataclass
class _Training:
    """The loop, and what it writes."""

    config: TrainConfig
    folder: Path
    work: Assembly
    claims: Evaluator
    watch: Watcher
    tracking: Tracking
    is_main: bool
    begins: Path | None

    @property
    def log(self) -> Path:
        """The numbers of every iteration and evaluation."""
        return self.folder / "metrics.jsonl"

    def run(self, *, resume: bool, should_stop: Callable[[], bool]) -> Evaluation:
        """Train to the end, then go back to what is kept; returns what is claimed of the untrained model."""
        trainer, iterations = self.work.trainer, self.config.ppo.iterations
        trainer.start(0, self.config.ppo, derive_seed(self.config.seed, "train"))
        before = judge(self.claims)
        if told := starts_beside(self.config.model.adapter, before.kl_per_sequence):
            self.watch({"kind": "note", "text": told})
        trainer.runs[0].score_std = self.config.score_std or self._measure(before)
        if self.begins is not None:
            load_adapter(trainer.policy, 0, self.begins)
        start = judge(self.work.evaluator)
        if resume:
            load_checkpoint(trainer, 0, self.folder / "checkpoints")
            self._forget_after(trainer.runs[0].episodes)
        else:
            self._record({"episodes": 0, **start.metrics()})
        marks = {round(iterations * i / EVALUATIONS) for i in range(1, EVALUATIONS + 1)}
        while trainer.runs[0].iteration < iterations:
            metrics = trainer.step()[0]
            if isinstance(metrics, TrialError):
                raise metrics
            self._record(metrics)
            self.watch({"kind": "iteration", **metrics})
            at_mark = trainer.runs[0].iteration in marks
            if at_mark:
                self._judge(metrics["episodes"])
                self._save()
            if should_stop() and trainer.runs[0].iteration < iterations:
                if not at_mark:
                    self._save()
                raise TrainingInterrupted(
                    f"stopped after {metrics['episodes']:.0f} episodes; go on with {argument('resume', 'True')}"
                )
        if self.is_main and checkpoints_in(self.folder / "best"):
            load_checkpoint(trainer, 0, self.folder / "best")
        return before

    def finish(self, before: Evaluation) -> TrainingResult:
        """Write what is kept, and measure it as anyone would who loads it."""
        episodes = self.work.trainer.runs[0].episodes
        milestone = self._milestone(episodes)
        began = "an adapter that was trained before" if self.begins is not None else ""
        after = leave(self.work, self.config, self.folder, before, self.watch, began=began)
        return TrainingResult(
            self.folder, result_in(self.folder, self.config), episodes, before, after, milestone
        )

    def _milestone(self, episodes: int) -> float | None:
        """What the milestone scored that chose the model; None where none did."""
        if not checkpoints_in(self.folder / "best"):
            return None
        lines = [line for line in read_json_lines(self.log) if "heldout/score" in line]
        return float(next(line["heldout/score"] for line in lines if line["episodes"] == episodes))

    def _measure(self, before: Evaluation) -> float:
        """The unit in which values are learned: the spread of the untrained model's scores, the same everywhere."""
        own = 1.0 if before.score_std is None else before.score_std
        std, *_ = self.work.trainer.processes.gather(torch.tensor([own], device=self.work.policy.device))
        if std == 0:
            text = (
                "the untrained model's scores are all equal, so values are learned in the unit of the reward"
            )
            self.watch({"kind": "note", "text": text})
        return float(std) or 1.0

    def _judge(self, episodes: float) -> None:
        """Evaluate, and keep the policy if none within the KL budget scored better."""
        judged = judge(self.work.evaluator)
        budget = self.config.kl_budget
        if self.is_main and budget is not None and judged.kl_per_sequence <= budget:
            rivals = [
                line["heldout/score"]
                for line in read_json_lines(self.log)
                if line["episodes"] > 0 and line.get("heldout/kl_per_sequence", math.inf) <= budget
            ]
            if judged.score >= max(rivals, default=-math.inf):
                save_checkpoint(self.work.trainer, 0, self.folder / "best", kept=1)
        self._record({"episodes": episodes, **judged.metrics()})
        self.watch({"kind": "evaluation", "episodes": episodes, **judged.metrics()})

    def _record(self, line: dict[str, float]) -> None:
        if self.is_main:
            append_json_line(self.log, dict(line))
            self.tracking.log(line)

    def _save(self) -> None:
        if self.is_main:
            save_checkpoint(self.work.trainer, 0, self.folder / "checkpoints")

    def _forget_after(self, episodes: int) -> None:
        """Drop what was logged after the checkpoint: it comes again."""
        if self.is_main:
            kept = [line for line in read_json_lines(self.log) if line["episodes"] <= episodes]
            self.log.unlink(missing_ok=True)
            for line in kept:
                append_json_line(self.log, line)
            self.tracking.forget_after(episodes)


def _hash_of_adapter(folder: Path, config: TrainConfig) -> str:
    """The hash of an adapter that fits a config's model.

    Raises:
        ModelError: If there is none, or it is of another shape.
    """
    said = folder / "adapter_config.json"
    if not said.is_file():
        raise ModelError(
            f"{folder} holds no adapter to begin with; a completed trial that trains one leaves it"
        )
    wrong = _misfits(read_json(said), config.model)
    if wrong:
        raise ModelError(
            f"{folder} holds an adapter of {' and '.join(wrong)}; set the same in model, or begin untrained"
        )
    return content_hash(folder)


def _misfits(facts: Mapping[str, Any], model: ModelConfig) -> list[str]:
    """In what the config of an adapter is not that of a model's adapters: its kind, or else its rank and alpha."""
    options = (kind for kind in ("rslora", "dora") if facts.get(f"use_{kind}"))
    others = {"ADALORA": "adalora", "IA3": "ia3", "PREFIX_TUNING": "prefix"}
    kind = others.get(facts["peft_type"]) or next(options, USUAL_ADAPTER)
    if kind == model.adapter == "prefix":
        length = facts["num_virtual_tokens"]
        return [] if length == model.prefix_length else [f"prefix_length {length}"]
    if not {kind, model.adapter}.isdisjoint(RANKLESS):
        return [] if kind == model.adapter else [f"adapter: {kind}"]
    shape = {"lora_rank": facts["target_r" if kind == "adalora" else "r"], "lora_alpha": facts["lora_alpha"]}
    wrong = [f"{name} {value}" for name, value in shape.items() if value != getattr(model, name)]
    return wrong if kind == model.adapter else [*wrong, f"adapter: {kind}"]


def _reserve(folder: Path, config: TrainConfig, inputs: Mapping[str, str], *, resume: bool) -> None:
    """Make the folder this training's own, or make sure that it is; `inputs` are hashes of the files it depends on.

    Raises:
        StorageError: If it holds a training and `resume` is not set, or holds none and it is.
        StudyMismatchError: If it holds another one.
    """
    make_folder(folder)
    record, content = folder / "config.json", folder / "inputs.json"
    if not resume:
        if checkpoints_in(folder / "checkpoints"):
            raise StorageError(
                f"{folder} holds a training already; go on with {argument('resume', 'True')}, or "
                f"choose another {argument('out')}"
            )
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        for old in ("best", "tensorboard"):
            shutil.rmtree(folder / old, ignore_errors=True)
        write_json(content, inputs)
        write_json(record, config.model_dump(mode="json"))
        return
    if not record.is_file():
        raise StorageError(f"{folder} holds no training to resume; start without {argument('resume')}")
    held = read_json(content) if content.is_file() else inputs  # once nobody noted them
    begun, held = as_named(
        TrainConfig.model_validate_json(record.read_text(encoding="utf-8")), held, config, inputs
    )
    inert = () if config.ppo.kl_target else ("ppo.kl_horizon",)  # its default was once a number
    now = {**config.model_dump(mode="json"), "content": as_noted(inputs, held)}
    changed = differences({**begun.model_dump(mode="json"), "content": held}, now, ignored=("log", *inert))
    if changed:
        raise StudyMismatchError(f"{folder} holds another training:\n" + "\n".join(changed))
