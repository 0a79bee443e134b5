"""What a task is: prompts in three splits, the reward that PPO maximizes, the gold reward that judges it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from ppo_tune.data.prompts import Prompt, Split
from ppo_tune.errors import DataError, NoPromptsError
from ppo_tune.models.chat import user_turns
from ppo_tune.models.context import problem_of_prompt
from ppo_tune.models.text import Prompts, pad_left, tokenize
from ppo_tune.rewards import Reward


@dataclass(frozen=True)
class Task:
    """Prompts and their judges.

    Attributes:
        name: As in the study file.
        prompts: The prompts of each split; no prompt is in two of them.
        reward: What PPO maximizes and the search compares.
        gold: A second judge that the search never sees, or None.
        base_model: Folder of the task's own model, or None when the user must name one.
        chat: Whether prompts are wrapped in the tokenizer's chat template.
        drop_bad_rows: Whether a prompt that does not fit the model is dropped instead of refused.
        n_dropped: Rows dropped so far.
    """

    name: str
    prompts: Mapping[Split, tuple[Prompt, ...]]
    reward: Reward
    gold: Reward | None
    base_model: str | None = None
    chat: bool = False
    drop_bad_rows: bool = False
    n_dropped: int = 0


class PromptSet:
    """The tokenized prompts of one split.

    Args:
        task: The task.
        split: Which of its splits.
        tokenizer: The policy's tokenizer.
        max_prompt_tokens: The longest prompt that leaves room for a response; None for no limit.

    Raises:
        DataError: If a prompt is longer or empty and the task does not drop such rows.
        NoPromptsError: If none is left.
    """

    def __init__(
        self, task: Task, split: Split, tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int | None
    ) -> None:
        self.prompts: list[Prompt] = []
        self.ids: list[list[int]] = []
        self.n_dropped = 0
        for prompt, ids in zip(task.prompts[split], _encode(task, split, tokenizer), strict=True):
            problem = problem_of_prompt(len(ids), max_prompt_tokens)
            if problem is None:
                self.prompts.append(prompt)
                self.ids.append(ids)
            elif task.drop_bad_rows:
                self.n_dropped += 1
            else:
                raise DataError(
                    f"{prompt.where or 'prompt'}: {problem}, or drop such rows with drop_bad_rows: true"
                )
        if not self.prompts:
            raise NoPromptsError(f"task {task.name}: no prompt is left for {split}; more rows are needed")

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


def _encode(task: Task, split: Split, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    texts = [prompt.text for prompt in task.prompts[split]]
    if not task.chat:
        return tokenize(tokenizer, texts)
    wrapped = user_turns(tokenizer, texts, asked_by="task.chat")
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in wrapped]
