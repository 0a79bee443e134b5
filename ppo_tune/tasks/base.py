"""What a task is: prompts in three splits, what PPO maximizes, what trials are compared by, and judges beside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ppo_tune.config.judges import REWARD
from ppo_tune.config.tasks import Advice, DatasetTaskConfig, TaskConfig, TooLong, named_judges
from ppo_tune.data.prompts import Prompt, Split
from ppo_tune.errors import ConfigError, DataError, NoPromptsError, Problem
from ppo_tune.models.chat import prompt_ids, shortened
from ppo_tune.models.context import name_of_room, problem_of_prompt
from ppo_tune.models.text import Prompts, pad_left
from ppo_tune.plurals import counted
from ppo_tune.rewards import LearningReward, Reward, make_reward


@dataclass(frozen=True)
class TaskPrompts:
    """Prompts, and how a tokenizer is to read them.

    Attributes:
        name: As in the study file.
        prompts: The prompts of each split; no prompt is in two of them.
        chat: Whether prompts are wrapped in the tokenizer's chat template.
        drop_bad_rows: Whether a prompt of which the tokenizer makes nothing is dropped instead of refused.
        too_long: What becomes of a prompt that leaves no room for a response.
        advice: What can be done about them, for messages.
    """

    name: str
    prompts: Mapping[Split, tuple[Prompt, ...]]
    chat: bool = field(default=False, kw_only=True)
    drop_bad_rows: bool = field(default=False, kw_only=True)
    too_long: TooLong = field(default="refuse", kw_only=True)
    advice: Advice = field(default=DatasetTaskConfig.advice, kw_only=True)


@dataclass(frozen=True)
class Task(TaskPrompts):
    """Prompts, and who scores the responses to them.

    Attributes:
        reward: What PPO maximizes. It may learn.
        objective: What trials are compared by; most often the reward itself.
        judges: What else scores held-out responses, by name; the search never uses it.
        base_model: Folder of the task's own model, or None when the user must name one.
    """

    reward: Reward
    objective: Reward
    judges: Mapping[str, Reward] = field(default_factory=dict)
    base_model: str | None = None

    def __post_init__(self) -> None:
        """Refuse to compare anything by what is another thing every time.

        Raises:
            ConfigError: If the objective or a judge learns.
        """
        fixed = {"task.objective": self.objective}
        fixed |= {f"task.judges.{name}": judge for name, judge in self.judges.items()}
        rule = "must stay the same from first to last, or no two trials could be compared by it, but"
        problems = [
            Problem(place, f"{rule} {judge} learns; name one that does not")
            for place, judge in fixed.items()
            if isinstance(judge, LearningReward)
        ]
        if problems:
            raise ConfigError(problems)

    def expect(self, *, whole_texts: bool) -> None:
        """Tell all that score responses whether these are texts by themselves."""
        for reward in (self.reward, self.objective, *self.judges.values()):
            reward.expect(whole_texts=whole_texts)

    @property
    def beside(self) -> dict[str, Reward]:
        """All that scores held-out responses beside the objective: the judges, and a fixed reward of its own."""
        own = self.reward is not self.objective and not isinstance(self.reward, LearningReward)
        return {**({REWARD: self.reward} if own else {}), **self.judges}


def objective_of(config: TaskConfig, reward: Reward, device: torch.device) -> Reward:
    """What the trials of a task are compared by: what its config names, or else the reward, made already."""
    if config.objective is None or config.objective == config.reward:
        return reward
    return make_reward(config.objective, device)


def judges_of(config: TaskConfig, device: torch.device) -> dict[str, Reward]:
    """The judges that a config names, by their names."""
    return {name: make_reward(judge, device) for name, judge in named_judges(config).items()}


class PromptSet:
    """The tokenized prompts of one split.

    A prompt leaves room for a response where it has `max_prompt_tokens` at most; None is no limit. Where prompts are
    `closed` they keep the end-of-sequence token of the tokenizer, as encoders read them.

    Attributes:
        prompts: Those that are there; one that was cut is what is left of it.
        ids: Their tokens.
        n_dropped: How many were too long and are not there.
        n_cut: How many were too long and lost their beginning.
        told: How many were too long and what became of them, as a sentence; empty if none was.

    Raises:
        DataError: If a prompt is longer or empty and the task does not say what to do with such.
        NoPromptsError: If none is left.
    """

    def __init__(
        self,
        task: TaskPrompts,
        split: Split,
        tokenizer: PreTrainedTokenizerBase,
        max_prompt_tokens: int | None,
        *,
        closed: bool = False,
    ) -> None:
        self.name, self.advice = task.name, task.advice
        self.prompts: list[Prompt] = []
        self.ids: list[list[int]] = []
        every, self.n_dropped, self.n_cut = task.prompts[split], 0, 0
        texts = [prompt.text for prompt in every]
        asked_by = task.advice.asks_for_chat
        rows = prompt_ids(tokenizer, texts, chat=task.chat, closed=closed, asked_by=asked_by)
        for prompt, ids in zip(every, rows, strict=True):
            problem = problem_of_prompt(len(ids), max_prompt_tokens, closed=closed)
            if problem is None:
                self._add(prompt, ids)
                continue
            if not ids and task.drop_bad_rows:
                continue
            if not ids or task.too_long == "refuse":
                too_long = task.advice.too_long_to_encode if closed else task.advice.too_long
                way_out = too_long if ids else task.advice.empty
                others = _others(rows, ids, max_prompt_tokens, split)
                raise DataError(f"{prompt.where or f'task {task.name}'}: {problem}; {way_out}{others}")
            assert max_prompt_tokens is not None, "without a limit nothing is too long"
            cut = task.too_long == "cut" and shortened(
                tokenizer, prompt.text, max_prompt_tokens, chat=task.chat, closed=closed
            )
            if cut:
                self._add(prompt.cut_to(cut[0]), cut[1])
            self.n_cut, self.n_dropped = self.n_cut + bool(cut), self.n_dropped + (not cut)
        if not self.prompts:
            raise NoPromptsError(f"task {task.name}: no prompt is left for {split}; more rows are needed")
        counts = {"were dropped": self.n_dropped, "lost their beginning": self.n_cut}
        done = " and ".join(f"{n:,} {what}" for what, n in counts.items() if n)
        self.told = done and (
            f"{self.n_dropped + self.n_cut:,} of {len(every):,} {split} prompts have more than {max_prompt_tokens:,} "
            f"tokens, {name_of_room(closed=closed)}: {done}"
        )

    def check_rollout(self, rollout_size: int) -> None:
        """Make sure that these prompts, which are trained on, are enough for a rollout.

        Raises:
            DataError: If not.
        """
        if len(self) < rollout_size:
            raise DataError(
                f"task {self.name}: `prompts >= rollout_size` must hold, but got "
                f"{counted(len(self), 'training prompt')} and "
                f"rollout_size {rollout_size}; {self.advice.few}"
            )

    def _add(self, prompt: Prompt, ids: list[int]) -> None:
        self.prompts.append(prompt)
        self.ids.append(ids)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.ids))

    def batch(self, rows: Iterable[int]) -> Prompts:
        """The prompts of these rows as padded tensors on the CPU, shape (B, P)."""
        return pad_left([self.ids[row] for row in rows])

    def texts(self, rows: Sequence[int]) -> tuple[list[str], dict[str, list[Any]]]:
        """What a reward is told of these rows: prompts, and the other columns."""
        prompts = [self.prompts[row] for row in rows]
        columns = {name: [p.columns[name] for p in prompts] for name in prompts[0].columns} if prompts else {}
        return [p.text for p in prompts], columns


def _others(rows: Sequence[Sequence[int]], one: Sequence[int], room: int | None, split: Split) -> str:
    """How many rows are too long, or empty, as one is; empty where it is the only one."""
    n = sum(bool(row) == bool(one) and problem_of_prompt(len(row), room) is not None for row in rows)
    return f"; {n:,} of {len(rows):,} {split} prompts are so" if n > 1 else ""
