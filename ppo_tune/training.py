"""One config at full length: periodic evaluation, checkpoints, exact resume, and a model folder at the end.

ppo-tune train reports/quickstart/best.yaml
accelerate launch -m ppo_tune train reports/quickstart/best.yaml      # on several processes
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from ppo_tune.checkpoints import checkpoints_in, load_checkpoint, save_checkpoint
from ppo_tune.config import TrainConfig, differences
from ppo_tune.errors import ModelError, StorageError, StudyMismatchError, TrialError
from ppo_tune.evaluation import Evaluation
from ppo_tune.events import Event, Watcher
from ppo_tune.files import append_json_line, make_folder, read_json, read_json_lines, write_json, write_text
from ppo_tune.inputs import check_inputs
from ppo_tune.model_card import model_card
from ppo_tune.models import save_adapter, save_merged
from ppo_tune.models.read_back import adapter_note, model_note, say
from ppo_tune.seeding import derive_seed, generator
from ppo_tune.tasks import prepare_task
from ppo_tune.team import AcceleratedTeam
from ppo_tune.tracking import Tracked, Tracking
from ppo_tune.workbench import Workbench, set_up

EVALUATIONS = 10
"""How often a training is scored and saved, its end included."""

READ_BACK = 8
"""Held-out prompts on which a saved model is compared with the policy."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        folder: Holds config, metrics, checkpoints and the model.
        model: An ordinary Hugging Face folder.
        episodes: How long the model of the folder was trained: to the best evaluation within the KL budget.
        before: The untrained model on the held-out prompts.
        after: The trained one.
    """

    folder: Path
    model: Path
    episodes: int
    before: Evaluation
    after: Evaluation


class TrainingInterrupted(Exception):
    """The user stopped a training; a checkpoint was saved."""


def train(
    config: TrainConfig,
    *,
    out: Path | str,
    resume: bool = False,
    watch: Watcher = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train one config to the end of its episodes.

    A training that was stopped and resumed ends, on a CPU, with the very same numbers as one that was not.

    Args:
        config: Task, model, hyperparameters and seed.
        out: The folder to write.
        resume: Go on from the newest whole checkpoint in it.
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
    check_inputs(config)
    if accelerator.is_local_main_process:
        prepare_task(config.task, lambda name, done: watch({"kind": "stage", "name": name, "done": done}))
    accelerator.wait_for_everyone()
    folder = Path(out)
    if accelerator.is_main_process:
        _claim(folder, config, resume=resume)
    accelerator.wait_for_everyone()
    work = set_up(config, seed=config.seed, device=accelerator.device, team=AcceleratedTeam(accelerator))
    tell = watch if accelerator.is_main_process else _nobody
    for note in work.notes:
        tell({"kind": "note", "text": note})
    tracked = Tracked(config.name, config.name, folder, config.ppo.model_dump(mode="json"))
    tracking = Tracking(
        config.log if accelerator.is_main_process else (),
        tracked,
        warn=lambda text: watch({"kind": "note", "text": text}),
    )
    training = _Training(config, folder, work, tell, tracking, is_main=accelerator.is_main_process)
    with tracking.finished_after():
        before, after = training.run(resume=resume, should_stop=should_stop)
    episodes = work.trainer.runs[0].episodes
    if accelerator.is_main_process:
        _write_model(work, config, folder, before, after)
        _read_back(work, config, folder, tell)
    accelerator.wait_for_everyone()
    return TrainingResult(folder, folder / "model", episodes, before, after)


class _Training:
    """The loop, and what it writes."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        work: Workbench,
        watch: Watcher,
        tracking: Tracking,
        *,
        is_main: bool,
    ) -> None:
        self.config = config
        self.folder = folder
        self.work = work
        self.watch = watch
        self.tracking = tracking
        self.is_main = is_main
        self.log = folder / "metrics.jsonl"

    def run(self, *, resume: bool, should_stop: Callable[[], bool]) -> tuple[Evaluation, Evaluation]:
        """Train to the end, then go back to what is kept; returns the evaluations before and after."""
        trainer, iterations = self.work.trainer, self.config.ppo.iterations
        trainer.start(0, self.config.ppo, derive_seed(self.config.seed, "train"))
        before = self._evaluate()
        trainer.runs[0].score_std = self.config.score_std or self._measure(before)
        if resume:
            load_checkpoint(trainer, 0, self.folder / "checkpoints")
            self._forget_after(trainer.runs[0].episodes)
        else:
            self._record({"episodes": 0, **before.metrics()})
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
                    f"stopped after {metrics['episodes']:.0f} episodes; go on with --resume"
                )
        if self.is_main and checkpoints_in(self.folder / "best"):
            load_checkpoint(trainer, 0, self.folder / "best")
        return before, self._evaluate()

    def _measure(self, before: Evaluation) -> float:
        """The unit in which values are learned: the spread of the untrained model's scores, the same everywhere."""
        std = self.work.trainer.team.gather(torch.tensor([before.score_std], device=self.work.policy.device))[
            0
        ]
        if std == 0:
            self.watch({
                "kind": "note",
                "text": "the untrained model's scores are all equal, so values are learned in the unit of the reward",
            })  # fmt: skip
        return float(std) or 1.0

    def _judge(self, episodes: float) -> None:
        """Evaluate, and keep the policy if none within the KL budget scored better."""
        judged = self._evaluate()
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

    def _evaluate(self) -> Evaluation:
        judged = self.work.evaluator([0])[0]
        if isinstance(judged, TrialError):
            raise judged
        return judged

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


def _claim(folder: Path, config: TrainConfig, *, resume: bool) -> None:
    """Make the folder this training's own, or make sure that it is.

    Raises:
        StorageError: If it holds a training and `resume` is not set, or holds none and it is.
        StudyMismatchError: If it holds another one.
    """
    make_folder(folder)
    record = folder / "config.json"
    if not resume:
        if checkpoints_in(folder / "checkpoints"):
            raise StorageError(
                f"{folder} holds a training already; go on with --resume, or choose another --out"
            )
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        for old in ("best", "tensorboard"):
            shutil.rmtree(folder / old, ignore_errors=True)
        write_json(record, config.model_dump(mode="json"))
        return
    if not record.is_file():
        raise StorageError(f"{folder} holds no training to resume; start without --resume")
    changed = differences(read_json(record), config.model_dump(mode="json"), ignored=("log",))
    if changed:
        raise StudyMismatchError(f"{folder} holds another training:\n" + "\n".join(changed))


def _write_model(
    work: Workbench, config: TrainConfig, folder: Path, before: Evaluation, after: Evaluation
) -> None:
    """The model folder with its card, the adapter, and what the judges said of both models."""
    save_merged(work.policy, 0, folder / "model")
    base = config.model.name or f"the {config.task.name} task's own model"
    episodes = work.trainer.runs[0].episodes
    write_text(folder / "model" / "README.md", model_card(config, base, episodes, before, after))
    if work.policy.adapters is not None:
        save_adapter(work.policy, 0, folder / "adapter")
    write_json(folder / "evaluation.json", {"before": asdict(before), "after": asdict(after)})


def _read_back(work: Workbench, config: TrainConfig, folder: Path, watch: Watcher) -> None:
    """Load what was written as others do, and compare it with the policy.

    Raises:
        ModelError: If the model folder holds something else.
    """
    prompts = work.evaluator.prompts
    batch = prompts.batch(range(min(READ_BACK, len(prompts))))
    rng = generator(config.seed, "read back")
    said = say(
        work.policy, 0, batch, 1 - torch.rand(len(batch.ids), config.ppo.max_new_tokens, generator=rng)
    )
    try:
        notes = [model_note(folder / "model", said)]
    except ModelError as error:
        raise ModelError(
            f"{error}; the training is kept in {folder / 'checkpoints'}, and --resume writes the model again"
        ) from error
    if work.policy.adapters is not None:
        notes.append(adapter_note(work.policy, folder / "adapter", said))
    if work.policy.model.dtype != torch.float32:
        notes.append(
            f"{folder / 'model'} holds float32 weights, for {config.model.dtype} would round part of what was "
            "learned away; load it in float32"
        )
    for note in notes:
        if note is not None:
            watch({"kind": "note", "text": note})


def _nobody(_: Event) -> None:
    """Hears nothing: only the main process reports."""
