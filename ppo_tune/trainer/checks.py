"""What can be known of a training before any weight is read: by tokenizers, configs and the user's files alone.

Whatever is refused here would be refused later, by the same functions: some of it when the models are there, some in
the middle of a trial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ppo_tune.config.model import RANKLESS
from ppo_tune.config.run import RunConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import scorers
from ppo_tune.data.prompts import Prompt, Split
from ppo_tune.errors import Mistakes, NoPromptsError
from ppo_tune.models import load_tokenizer
from ppo_tune.models.adapters import adapted_share, layers_to_adapt, output_head, remark_on
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import TokenLayout, remark_on_ends
from ppo_tune.models.loading import skeleton
from ppo_tune.models.lora import remark_on_rank
from ppo_tune.models.text import check_tokens, name_of
from ppo_tune.rewards import check_reward
from ppo_tune.tasks import PromptSet, TaskPrompts, check_form, notes_on_ends, stops_of, task_prompts
from ppo_tune.trainer.compiling import require_compiler


@dataclass(frozen=True)
class Lengths:
    """How long prompts are in the tokens of the model, those of all splits.

    Attributes:
        median: Tokens of the middle one of those that are kept.
        longest: Tokens of the longest of them.
        room: Tokens of the longest that leaves room for a response; None where the model has no limit.
        dropped: How many are longer and left out.
        cut: How many are longer and lose their beginning.
    """

    median: int
    longest: int
    room: int | None
    dropped: int = 0
    cut: int = 0


@dataclass(frozen=True)
class RunFacts:
    """What is known of a training before any weight is read.

    Attributes:
        lengths: Of the prompts; None where the task's own model reads them.
        of_model: What its user should know of model and prompts, one sentence each; `Assembly.notes` say it too.
        of_scorers: The same of what scores responses.
        kept: How many prompts of each split are left, of those splits that a tokenizer has read.
    """

    lengths: Lengths | None = None
    of_model: tuple[str, ...] = ()
    of_scorers: tuple[str, ...] = ()
    kept: Mapping[Split, int] = field(default_factory=dict)


def check_run(config: RunConfig, prompts: Sequence[Prompt] | None = None) -> RunFacts:
    """Look at all that a training needs, without the weights of any model.

    Args:
        config: The training.
        prompts: Those of the task's file, where they were read already.

    Raises:
        PPOTuneError: With everything that was found, if anything cannot be used.
    """
    look = _Look(config, task_prompts(config.task, prompts))
    with look.mistakes.collected():
        look.at_model()
    look.at_scorers()
    if config.model.compile is True:
        with look.mistakes.collected():
            require_compiler()
    look.mistakes.tell()
    kept = {split: len(found) for split, found in look.sets.items()}
    return RunFacts(look.lengths(), tuple(look.of_model), tuple(look.of_scorers), kept)


def check_scorers(config: RunConfig, prompts: Sequence[Prompt]) -> list[str]:
    """See whether all that scores responses to some prompts could do so; what its user should know, each once.

    Raises:
        PPOTuneError: With all of those that could not.
    """
    mistakes, told = Mistakes(), list[str]()
    for place, scorer in scorers(config.task).items():
        with mistakes.collected():
            told.extend(check_reward(scorer, place, prompts, config.ppo.max_new_tokens))
    mistakes.tell()
    return [*dict.fromkeys(told)]


@dataclass
class _Look:
    """What was seen so far."""

    config: RunConfig
    asked: TaskPrompts
    mistakes: Mistakes = field(default_factory=Mistakes)
    of_model: list[str] = field(default_factory=list)
    of_scorers: list[str] = field(default_factory=list)
    sets: dict[Split, PromptSet] = field(default_factory=dict)
    room: int | None = None

    def at_model(self) -> None:
        """See how the config's own model reads the task's prompts, and what ends its responses."""
        name = self.config.model.name
        if name is None:  # the task's own, which is built for it
            return
        model, tokenizer = skeleton(name), load_tokenizer(name)
        layout = layout_of(model.config)(model, tokenizer, model.dtype)
        if self.config.model.adapter == "prefix":
            layout.n_before = self.config.model.prefix_length
        self.room = layout.room_for_prompts(self.config.ppo.max_new_tokens)
        with self.mistakes.collected():
            check_form(self.config.task, name, whole_texts=layout.closes_prompts)
        with self.mistakes.collected():
            output_head(model)
            rank = self.config.widest_model.lora_rank
            if rank is not None and self.config.model.adapter != "prefix":
                layers = layers_to_adapt(model).values()
                has_rank = self.config.model.adapter not in RANKLESS
                place = "model.lora_rank" if has_rank else "model.adapter"
                remarks = [remark_on(adapted_share(model, layers), place)]
                self.of_model += filter(None, [*remarks, remark_on_rank(layers, rank) if has_rank else None])
        with self.mistakes.collected():
            stops = stops_of(self.config.task, tokenizer)
            self.of_model += filter(None, [remark_on_ends(model, tokenizer)])
            self.of_model += notes_on_ends(name, self.asked, stop_ids=layout.stop_ids, stops=stops)
        with self.mistakes.collected():  # what is wrong with one split is often so with the others
            for split in self.asked.prompts:
                self._read(split, layout)

    def _read(self, split: Split, layout: TokenLayout) -> None:
        """Tokenize a split as the trainer and what scores its policies do."""
        try:
            found = PromptSet(self.asked, split, layout.tokenizer, self.room, closed=layout.closes_prompts)
        except NoPromptsError:
            if split == "confirmation" and not isinstance(self.config, StudyConfig):
                return  # what is claimed of a training then answers held-out prompts
            raise
        self.sets[split] = found
        self.of_model += [found.told] if found.told else []
        check_tokens(found.ids, layout.tokenizer, layout.model, name_of(layout.model))
        if split == "train":
            found.check_rollout(self.config.ppo.rollout_size)

    def at_scorers(self) -> None:
        """See whether all that scores responses could do so."""
        with self.mistakes.collected():
            self.of_scorers += check_scorers(self.config, self._prompts())

    def _prompts(self) -> Sequence[Prompt]:
        """What scorers will be given: what is left of the prompts, or all where they were not read."""
        kept = [prompt for found in self.sets.values() for prompt in found.prompts]
        return kept or [prompt for split in self.asked.prompts.values() for prompt in split]

    def lengths(self) -> Lengths | None:
        """How long the prompts are that were read."""
        tokens = [len(ids) for found in self.sets.values() for ids in found.ids]
        if not tokens:
            return None
        every = self.sets.values()
        return Lengths(
            median=round(median(tokens)),
            longest=max(tokens),
            room=self.room,
            dropped=sum(found.n_dropped for found in every),
            cut=sum(found.n_cut for found in every),
        )
