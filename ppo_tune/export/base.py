"""What is exported, what a larger run is asked for, and what an exporter hands back.

Knows no target. An exporter is a function `export(winner, scale) -> Export`; it imports nothing of its target,
whose option names, types and defaults stand in a manifest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppo_tune.config.rewards import RewardConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.data.prompts import Prompt
from ppo_tune.errors import ConfigError, Problem, StorageError
from ppo_tune.export.enclosures import Enclosure, notes_on
from ppo_tune.files import make_folder, write_text

MODEL_PLACEHOLDER = "YOUR_MODEL"
REWARD_PLACEHOLDER = "YOUR_REWARD_MODEL"
PROMPTS_PLACEHOLDER = "YOUR_PROMPTS.jsonl"
"""Names for what the user must still name."""


@dataclass(frozen=True)
class TokenFacts:
    """What another trainer must know of the model's tokens, as ppo-tune reads it; None where it could not be read.

    Attributes:
        longest_prompt: Tokens of the longest training prompt, those that the tokenizer or the chat template add
            included.
        context: Longest sequence that the model reads, in tokens.
        before: Text of the special tokens that the tokenizer puts before a plain prompt, such as `<s>`: empty
            where it puts none, None too where they cannot be written as text.
        ends: Every token that ends a response, by its id: its text.
        stops: Those among them that the task names or the chat's turn ends with, and the model's authors did not.
        stop_texts: Texts of several tokens that end a response, by the task.
    """

    longest_prompt: int | None = None
    context: int | None = None
    before: str | None = None
    ends: Mapping[int, str] | None = None
    stops: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where another trainer finds what ours was given.

    Attributes:
        model: A folder, by its name in the export's, or a hub name; None where there is none to name.
        reward: The reward with its files by their names there; None where there is none to name.
        prompts: The training prompts; None where they could not be read.
        unread: Why not, in words.
        tokens: What is known of the model's tokens.
        gain: The factor on a reward model's raw output; None where there is no reward model to read it of.
        enclosures: What of the user's goes along in the export's folder.
        notes: What of it is not what was tuned, or may not be all, one sentence each.
        revisions: Models that the study read at a revision, as `org/name@revision`; they are named without it here.
    """

    model: str | None = None
    reward: RewardConfig | None = None
    prompts: tuple[Prompt, ...] | None = None
    unread: str = ""
    tokens: TokenFacts = TokenFacts()
    gain: float | None = None
    enclosures: tuple[Enclosure, ...] = ()
    notes: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()

    def enclosed(self, name: str | None) -> Enclosure | None:
        """What goes along under a name; None for a hub name."""
        return next((enclosure for enclosure in self.enclosures if enclosure.name == name), None)

    @property
    def models(self) -> tuple[Enclosure, ...]:
        """The folders of models that go along."""
        return tuple(enclosure for enclosure in self.enclosures if enclosure.is_model)


@dataclass(frozen=True)
class Winner:
    """A config with what is known of it.

    Attributes:
        config: As tuned, at full length.
        searched: Names of the `PPOConfig` fields that the study searched.
        provenance: Where it comes from: short facts by name, in the order in which they are told.
        metrics: What was measured, by name; where there is more than a number a mapping, with its interval.
        response_tokens: Mean length of its responses, the stop token included.
        score_std: Standard deviation over prompts of what PPO maximizes.
        sources: Model, reward and prompts for another trainer, and what goes along.
        from_here: The config with its files as they are named from here, where they have other names in the folder.
    """

    config: TrainConfig
    searched: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    response_tokens: float | None = None
    score_std: float | None = None
    sources: Sources = Sources()
    from_here: TrainConfig | None = None


@dataclass(frozen=True)
class Scale:
    """A larger run.

    Attributes:
        params_ratio: Parameters of its model as a multiple of the tuned one's, > 0; None says nothing.
        response_length: Longest response of it, in tokens, >= 1; None says nothing.

    Raises:
        ConfigError: If a number is not positive.
    """

    params_ratio: float | None = None
    response_length: int | None = None

    def __post_init__(self) -> None:
        rules = {"--params-ratio": self.params_ratio, "--response-length": self.response_length}
        wrong = [
            Problem(flag, f"must be positive, but got {value:g}")
            for flag, value in rules.items()
            if value is not None and not 0 < value < float("inf")
        ]
        if wrong:
            raise ConfigError(wrong)

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self.params_ratio is not None or self.response_length is not None

    def __str__(self) -> str:
        words = []
        if self.params_ratio is not None:
            words.append(f"a model of {self.params_ratio:g} times the parameters")
        if self.response_length is not None:
            words.append(f"responses of up to {self.response_length} tokens")
        return " and ".join(words)


@dataclass(frozen=True)
class Beside:
    """A file or folder of the export's own folder, as an option's value.

    Attributes:
        name: Its place there.
        variable: The shell variable that holds its whole path, or what is read instead of it; empty if there is none.
    """

    name: str
    variable: str = ""


@dataclass(frozen=True)
class Literally:
    """A text that is not to be quoted, such as a shell variable, as an option's value."""

    text: str


Value = bool | int | float | str | list[float] | Beside | Literally | None


@dataclass(frozen=True)
class Setting:
    """One option of the target.

    Attributes:
        name: As the target spells it.
        value: What it is set to; None leaves it out, because its absence is what is meant.
        fields: Our names for what it carries.
        note: What else there is to say, in a few words.
    """

    name: str
    value: Value
    fields: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Remark:
    """What the target cannot do, or does a little differently.

    Attributes:
        fields: Our names for what it concerns.
        text: What it means for the user.
    """

    fields: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{', '.join(self.fields)}: {self.text}" if self.fields else self.text


@dataclass(frozen=True)
class Conversion:
    """A config in the words of a target.

    Attributes:
        settings: Options of the target.
        constants: Numbers that the exported script itself needs, beyond the target's options.
        unsupported: What the target cannot do.
        approximated: What it does a little differently.
    """

    settings: tuple[Setting, ...]
    constants: tuple[Setting, ...] = ()
    unsupported: tuple[Remark, ...] = ()
    approximated: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Export:
    """What is to be written.

    Attributes:
        main: Name of the file that is run or read first.
        files: Contents by name.
        conversion: How it was made.
        command: What ppo-tune runs the main file with; empty for another trainer.
        sources: What goes along, and what is to be said of it.
        printed: The main file for a place of its own, where it names files otherwise than in the folder.
        verdict: What the study says of the config.
        advice: What to do instead of training it as it is; empty where one can.
    """

    main: str
    files: Mapping[str, str]
    conversion: Conversion
    command: tuple[str, ...] = ()
    sources: Sources = Sources()
    printed: str = ""
    verdict: str = ""
    advice: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What must still go along, or may be missing, one sentence each."""
        return (*self.sources.notes, *notes_on(self.sources.enclosures))

    @property
    def missing(self) -> tuple[Enclosure, ...]:
        """What ought to go along and is not here."""
        return tuple(known for known in self.sources.enclosures if known.is_missing)

    def write(self, folder: Path | str, *, force: bool = False) -> list[Path]:
        """Write all files, and what goes along, into a folder that is empty, or has yet to be made.

        Args:
            folder: Where they go.
            force: Write into a folder that holds something, too.

        Returns:
            The files, and what went along.

        Raises:
            StorageError: If the folder holds something, or cannot be written.
        """
        folder = Path(folder)
        if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StorageError(
                f"{folder} holds something already; choose another with --folder, or insist with --force"
            )
        make_folder(folder)
        for name, text in self.files.items():
            write_text(folder / name, text)
        put = [enclosure for enclosure in self.sources.enclosures if enclosure not in self.missing]
        for enclosure in put:
            enclosure.put_into(folder)
        return [folder / name for name in (*self.files, *(enclosure.name for enclosure in put))]
