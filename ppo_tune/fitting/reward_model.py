"""Fit a reward model to what people said of responses, and centre it on what the base model says.

    ppo-tune reward data/preferences.jsonl --base models/base --out models/reward

Papers: Stiennon et al., 2020, arXiv:2009.01325 (the loss of pairs); Ziegler et al., 2019, arXiv:1909.08593 (scores
of the base model get mean 0 and standard deviation 1).
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from transformers import PreTrainedTokenizerBase

from ppo_tune.calling import place_of
from ppo_tune.config.fitting import RewardTrainingConfig
from ppo_tune.config.model import ModelConfig
from ppo_tune.data.chats import has_turns
from ppo_tune.data.labels import Kind, Labels, PairLabels
from ppo_tune.data.model_folders import check_model
from ppo_tune.data.row_file import View
from ppo_tune.errors import ConfigError, DataError, ModelError, Problem
from ppo_tune.fitting.folders import FitFolder
from ppo_tune.fitting.heads import HEADS, Head, RatingHead
from ppo_tune.fitting.intervals import Interval, few_heldout
from ppo_tune.fitting.lengths import TextLengths, Texts, texts_within
from ppo_tune.fitting.loop import Loss, Progress, fit
from ppo_tune.fitting.quality import Ordering, calibration_error, ordering
from ppo_tune.fitting.raters import Agreement, agreement
from ppo_tune.fitting.rows import HoldOut, cut_prompts, hold_out, key_of
from ppo_tune.fitting.scorer import Encoded, Scorer, make_classifier
from ppo_tune.fitting.weights import check_rank
from ppo_tune.models import load_policy, load_tokenizer
from ppo_tune.models.answers import answer_texts, check_room, draw_uniforms
from ppo_tune.models.chat import turn_end
from ppo_tune.models.context import context_length
from ppo_tune.models.loading import require_decoder, skeleton
from ppo_tune.models.stops import Stops
from ppo_tune.plurals import counted
from ppo_tune.rewards.links import Link
from ppo_tune.rewards.score_format import JOINED, ScoreFormat
from ppo_tune.seeding import generator

CURVE = (0.25, 0.5)
"""Shares of the prompts that the learning curve is fitted to, before all of them."""

LEAST_ROWS = 100
"""Rows to learn from below which there is no learning curve."""


@dataclass(frozen=True)
class CurvePoint:
    """What a fit to a part of the data is worth.

    Attributes:
        rows: How many it learned from.
        accuracy: On the same held-out rows as the others.
        interval: Its 95 % interval.
    """

    rows: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class RewardTrainingResult:
    """What came of a fit.

    Attributes:
        labels: What it learned from: pairs, ratings or classes.
        examples: Rows it learned from.
        heldout_examples: Rows that were held out.
        accuracy: Share of pairs of held-out responses that it orders as they were judged; equal scores count half.
        interval: The accuracy's 95 % interval: Wilson's, of fewer pairs where several have one prompt.
        heldout_pairs: How many pairs that share is of: of one prompt, unless `across`.
        heldout_prompts: Of how many prompts they are.
        across: Whether the responses of a pair need not be of one prompt, for too few prompts have several.
        loss: Mean held-out loss.
        calibration_error: Of the probabilities that it gives, or of ratings in units of their standard deviation.
        agreement: How far raters agree among themselves, where they judged the same responses often enough.
        curve: What fits to less of the data are worth, and this one; empty where none was asked for.
        attributes: The accuracy for each attribute, where several are rated.
        teacher: The accuracy of the teacher that reads comments, where there are any.
        base_mean: Mean raw score of the base model's responses, before centring.
        base_std: Their standard deviation.
        notes: What the user should know of the data.
    """

    labels: Kind
    examples: int
    heldout_examples: int
    accuracy: float
    interval: Interval
    heldout_pairs: int
    heldout_prompts: int
    base_mean: float
    base_std: float
    loss: float = math.nan
    calibration_error: float = math.nan
    across: bool = False
    agreement: Agreement | None = None
    curve: tuple[CurvePoint, ...] = ()
    attributes: tuple[tuple[str, Ordering], ...] = ()
    teacher: Ordering | None = None
    notes: tuple[str, ...] = ()

    @property
    def rank_correlation(self) -> float:
        """Goodman and Kruskal's γ of scores and labels over the same pairs, from -1 to 1."""
        return 2 * self.accuracy - 1

    @property
    def warning(self) -> str | None:
        """What is wrong with an accuracy that is not above chance; None if it is."""
        low, high = self.interval
        if not self.heldout_pairs:
            return (
                "no two held-out responses were judged differently, so nothing is known of how good the model is; "
                "give more data, or a larger heldout_fraction"
            )
        if high < 0.5:
            turned = {
                "pairs": "`chosen` and `rejected` are swapped",
                "ratings": "a low rating is the better one (--best low)",
                "classes": "the classes are named from worst to best (--classes)",
            }
            return (
                "the reward model prefers what was judged worse: its accuracy is below chance, 0.5; look whether "
                f"{turned[self.labels]}"
            )
        if low <= 0.5:
            return (
                "the reward model cannot be told from chance, 0.5, so a policy trained on it learns nothing that is "
                "preferred; give more data, more epochs or another learning rate"
            )
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """That, and an accuracy that is measured on little; a sentence each."""
        few = few_heldout(self.heldout_prompts, "accuracy") if self.heldout_pairs else ()
        return (*filter(None, [self.warning]), *few)


@dataclass(frozen=True)
class _Data:
    """Judged rows as all fits of a learning curve have them: their tokens, labels, and which are held out."""

    texts: Sequence[Texts]
    labels: Labels
    split: HoldOut
    chat: bool
    base: str
    tokenizer: PreTrainedTokenizerBase
    config: RewardTrainingConfig


@dataclass(frozen=True)
class _Fitted:
    """A reward model, what it says of the held-out rows, (N, R, H), and how well its teacher orders them."""

    scorer: Scorer
    head: Head[Any]
    said: Tensor
    teacher: Ordering | None = None


def fit_reward(
    rows: Sequence[Texts],
    base: str,
    out: Path,
    config: RewardTrainingConfig | None = None,
    *,
    labels: Labels | None = None,
    places: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> RewardTrainingResult:
    """Fit a reward model and write it as a Hugging Face folder.

    Where a prompt is a conversation, the model reads all of them through the chat template of its tokenizer. It is
    fitted on the first GPU, if there is one. What the fit is worth is kept beside the model in `fit.json`.

    Args:
        rows: At least two: prompts with a chosen and a rejected response each, or with one that the labels judge.
        base: Folder or hub name of the model it starts from, whose samples also fix mean and scale.
        out: The folder to write: new, empty, or with an earlier model of `reward`, which stays until the new one is
            whole.
        config: How to fit.
        labels: What was said of the responses, in the order of the rows; None where of each pair the first was chosen.
        places: File and line of each row, for messages.
        progress: Told how far the fit is.

    Returns:
        The held-out accuracy and the scale.

    Raises:
        DataError: If there are too few rows, all labels are the same, or a row is longer than the model's context.
        ConfigError: If there is a teacher and no comment.
        ModelError: If `base` cannot be loaded, has no chat template where one is needed, or the fit diverges, which
            writes nothing, or there is no memory for it.
        StorageError: If the folder holds anything else, or cannot be written.
    """
    config = config or RewardTrainingConfig()
    labels = PairLabels.plain(len(rows)) if labels is None else labels
    if len(rows) < 2:
        raise DataError(f"at least 2 rows are needed, but got {len(rows)}")
    _check_rows(rows, labels)
    folder = FitFolder.of(out, "reward", base)
    for named in filter(None, (base, config.teacher)):
        check_model(named)
    if config.teacher is not None and labels.comments is None:
        what = "reads comments, but there are none; leave it out"
        raise ConfigError([Problem(place_of("teacher"), what)])
    require_decoder(base)
    check_rank(base, config)
    agreed = agreement(labels, rows)
    rows, notes = cut_prompts(rows)
    chat = has_turns(prompt for prompt, *_ in rows)
    limit, tokenizer = context_length(skeleton(base)), load_tokenizer(base)
    within = texts_within(rows, TextLengths(tokenizer, config, chat=chat), limit, config, places)
    rows, labels = within.rows, labels.at(within.numbers)
    split = hold_out(within.prompts, config.heldout_fraction, generator(config.seed, "reward", "split"))
    split = _judged(split, labels)
    samples = sample_base(base, View(rows, _prompt, split.train), config, chat=chat)
    data = _Data(rows, labels, split, chat, base, tokenizer, config)
    parts = _parts(split.train, config)
    tellers = _in_turn(progress, [len(rows) for part in parts for rows in _lessons(labels, part)], config)
    points = [_point(data, part, tellers) for part in parts[:-1]]
    fitted = _fit(data, split.train, tellers)
    ordered, link = _ordering(data, fitted), fitted.head.link
    points.append(CurvePoint(len(split.train), ordered.accuracy, ordered.interval))
    said = fitted.scorer.measure(fitted.scorer.rows(samples), config)
    mean, std = _mean_and_std(link.score(said[:, 0]))
    alone = [_mean_and_std(said[:, 0, i]) for i in range(len(link.attributes)) if len(link.attributes) > 1]
    expected = fitted.head.calibration(fitted.said, split.heldout)
    result = RewardTrainingResult(
        labels.kind,
        len(split.train),
        len(split.heldout),
        ordered.accuracy,
        ordered.interval,
        ordered.pairs,
        ordered.prompts,
        mean,
        std,
        loss=_mean_loss(fitted, split.heldout),
        calibration_error=calibration_error(*expected),
        across=ordered.across,
        agreement=agreed,
        curve=tuple(points) if len(points) > 1 else (),
        attributes=_by_attribute(data, fitted),
        teacher=fitted.teacher,
        notes=(
            *notes,
            *folder.notes,
            *(() if chat else _note_on_joining(rows, config.template)),
            *within.notes,
            *split.notes,
        ),
    )
    with folder.written(_facts(result, (*within.notes, *split.notes))) as draft:
        fitted.scorer.weights.save(draft)
        tokenizer.save_pretrained(draft)
        _format(result, fitted.scorer, link, [(1 / std, -mean / std) for mean, std in alone]).write(draft)
    return result


def _check_rows(rows: Sequence[Texts], labels: Labels) -> None:
    """Refuse rows that are not what the labels judge.

    Raises:
        DataError: If they are others, or all labels are the same.
    """
    if len(labels) != len(rows):
        raise DataError(
            f"there must be a label for each row, but got {len(labels)} for {counted(len(rows), 'row')}"
        )
    n = labels.n_responses
    if (other := next((i for i, row in enumerate(rows) if len(row) != 1 + n), None)) is not None:
        raise DataError(
            f"{labels.kind} judge {n} response{'s' * (n > 1)}, so each row must have a prompt and {n}, but row {other} "
            f"has {len(rows[other])} texts"
        )
    labels.check()


def _parts(train: "Sequence[int]", config: RewardTrainingConfig) -> list[Sequence[int]]:
    """The rows of each fit: prompt by prompt ever more of them, all of them in the end."""
    shares = CURVE if config.learning_curve and len(train) >= LEAST_ROWS else ()
    return [*(train[: int(share * len(train))] for share in shares), train]


def _judged(split: HoldOut, labels: Labels) -> HoldOut:
    """A split whose held-out rows all have a label.

    Raises:
        DataError: If none of them has one.
    """
    known = labels.known()
    kept = [i for i, row in enumerate(split.heldout) if known[row]]
    if not kept:
        raise DataError(
            "no held-out row has a rating or class beside its comment; give more, or another seed"
        )
    heldout, prompts = (array("q", [numbers[i] for i in kept]) for numbers in (split.heldout, split.prompts))
    return replace(split, heldout=heldout, prompts=prompts)


def _lessons(labels: Labels, train: Sequence[int]) -> list[Sequence[int]]:
    """The rows of the fits that one of the whole takes: those that a teacher learns from, and all."""
    if labels.comments is None:
        return [train]
    known = labels.known()
    return [[row for row in train if known[row]], train]


def _in_turn(progress: Progress, sizes: Sequence[int], config: RewardTrainingConfig) -> Iterator[Progress]:
    """Who is told of fits to so many rows, one after the other, as if they were one."""
    steps = [config.epochs * math.ceil(size / config.batch_size) for size in sizes]

    def told(before: int) -> Progress:
        return lambda step: progress(replace(step, number=before + step.number, steps=sum(steps)))

    return (told(sum(steps[:i])) for i in range(len(steps)))


def _fit(data: _Data, train: Sequence[int], tellers: Iterator[Progress]) -> _Fitted:
    """Fit a model to some of the rows, or first a teacher that reads comments and then a model to what it says."""
    head, teacher = _head(data, train), None
    if data.labels.comments is not None:
        known, _ = _lessons(data.labels, train)
        texts = View(
            range(len(data.texts)), partial(_with_comment, data.texts, data.labels.comments.tolist())
        )
        taught = replace(data, texts=texts, base=data.config.teacher or data.base)
        taught = replace(taught, tokenizer=load_tokenizer(taught.base))
        fitted, encoded = _fit_to(taught, known, _head(data, known), next(tellers))
        teacher = _ordering(taught, fitted)
        said = fitted.scorer.measure(View[Encoded](encoded, numbers=train), data.config)
        head.imitate(fitted.head.lesson(said), train)
        del fitted
    fitted, _ = _fit_to(data, train, head, next(tellers))
    return replace(fitted, teacher=teacher)


def _head(data: _Data, train: Sequence[int]) -> Head[Any]:
    return HEADS[data.labels.kind](data.labels, train, data.config, View(data.texts, _key))


def _with_comment(texts: Sequence[Texts], comments: Sequence[str], row: int) -> Texts:
    """What a teacher reads: a response with what was written of it."""
    prompt, response = texts[row]
    return (prompt, f"{response}\n\n{comments[row]}")


def _fit_to(
    data: _Data, train: Sequence[int], head: Head[Any], progress: Progress
) -> tuple[_Fitted, Sequence[Encoded]]:
    """Fit a model with a head; gives the tokens of all rows, too."""
    config, link = data.config, head.link
    weights = make_classifier(data.base, data.tokenizer, config, link.outputs)
    if link.outputs > 1:  # as other programs look for them
        weights.model.config.id2label = dict(enumerate(link.classes or link.attributes))
        weights.model.config.label2id = {name: i for i, name in weights.model.config.id2label.items()}
    head.to(weights.model.device)
    weights.parameters = [*weights.parameters, *head.parameters]
    scorer = Scorer(weights, data.tokenizer, config.template, chat=data.chat)
    encoded = scorer.rows(data.texts)

    def of(rows: list[int]) -> Tensor:
        return head.loss(scorer.outputs([encoded[row] for row in rows]), rows)

    fit(weights, train, Loss(of, lambda _: 1), CosineAnnealingLR, config, kind="reward", progress=progress)
    said = scorer.measure(View[Encoded](encoded, numbers=data.split.heldout), config)
    return _Fitted(scorer, head, said), encoded


def _prompt(row: Texts) -> str:
    return row[0]


def _key(row: Texts) -> bytes:
    return b"".join(map(key_of, row))


def _point(data: _Data, train: Sequence[int], tellers: Iterator[Progress]) -> CurvePoint:
    """What a fit to some of the rows is worth."""
    ordered = _ordering(data, _fit(data, train, tellers))
    return CurvePoint(len(train), ordered.accuracy, ordered.interval)


def _ordering(data: _Data, fitted: _Fitted) -> Ordering:
    """How well a model orders the held-out responses; where none are judged otherwise than others nothing is known."""
    n, responses, outputs = fitted.said.shape
    scores = fitted.head.link.score(fitted.said.reshape(-1, outputs)).view(n, responses)
    found = ordering(scores, fitted.head.order(data.split.heldout), data.split.prompts)
    return found or Ordering(0.5, (0.0, 1.0), 0, 0)


def _by_attribute(data: _Data, fitted: _Fitted) -> tuple[tuple[str, Ordering], ...]:
    """The same for each attribute, where there are several."""
    head, heldout = fitted.head, data.split.heldout
    if not isinstance(head, RatingHead) or len(head.labels.attributes) < 2:
        return ()
    orders = (head.order_by(i, heldout) for i in range(len(head.labels.attributes)))
    found = (ordering(fitted.said[:, :, i], order, data.split.prompts) for i, order in enumerate(orders))
    return tuple((name, one) for name, one in zip(head.labels.attributes, found, strict=True) if one)


@torch.no_grad()
def _mean_loss(fitted: _Fitted, rows: Sequence[int]) -> float:
    return float(fitted.head.loss(fitted.said.to(fitted.head.device), rows).mean())


def _format(
    result: RewardTrainingResult, scorer: Scorer, link: Link, scales: Sequence[tuple[float, float]]
) -> ScoreFormat:
    """How the model reads a text, what its outputs mean, and how good it is."""
    low, high = result.interval
    return ScoreFormat(
        scorer.template,
        append_eos=not scorer.chat and scorer.tokenizer.eos_token_id is not None,
        gain=1 / result.base_std,
        bias=-(1 / result.base_std) * result.base_mean,
        accuracy=result.accuracy,
        heldout_pairs=result.heldout_pairs,
        accuracy_low=low,
        accuracy_high=high,
        chat=scorer.chat,
        link=link,
        scales=tuple(scales),
    )


def _facts(result: RewardTrainingResult, notes: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of how good a reward model is; what the user's texts say is left out."""
    return {**asdict(result), "rank_correlation": result.rank_correlation, "notes": notes}


def _note_on_joining(rows: Sequence[Texts], template: str) -> tuple[str, ...]:
    """A note where most prompts and responses become one word at their border."""

    def glued(prompt: str, response: str) -> bool:
        return not prompt[-1:].isspace() and response[:1].isascii() and response[:1].isalnum()

    joined = (row for row in rows if glued(*row[:2]))
    first = next(joined, None)
    if JOINED not in template or first is None:
        return ()
    if 2 * (1 + sum(1 for _ in joined)) <= len(rows):
        return ()
    prompt, response, *_ = first
    return (
        f"prompt and response are read without a space between them, as in {prompt[-20:] + response[:20]!r}; if "
        "responses are to begin with one, fit with the template '{prompt} {response}' (--template)",
    )


def sample_base(
    base: str, prompts: Sequence[str], config: RewardTrainingConfig, *, chat: bool = False
) -> list[tuple[str, str]]:
    """Prompts with responses of the base model, `config.base_samples` of them; through its chat template if so.

    Raises:
        DataError: If a prompt leaves no room for a response in the model's context.
        ModelError: If `base` cannot be loaded.
    """
    policy = load_policy(ModelConfig(name=base, lora_rank=1, dtype=config.dtype))
    if chat and (end := turn_end(policy.tokenizer, asked_by="reward")) is not None:
        policy.stop_also(Stops((end,)))
    check_room(policy, prompts, config.max_new_tokens, chat=chat)
    chosen = [prompts[i % len(prompts)] for i in range(config.base_samples)]
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(chosen), 256):
        chunk = chosen[start : start + 256]
        rng = generator(config.seed, "reward", "samples", start)
        uniforms = draw_uniforms(len(chunk), config.max_new_tokens, rng)
        answers = answer_texts(policy, chunk, uniforms, temperature=1.0, chat=chat)
        pairs += zip(chunk, answers, strict=True)
    return pairs


def _mean_and_std(raw: Tensor) -> tuple[float, float]:
    """Mean of raw scores, and their standard deviation, which is never 0.

    Raises:
        ModelError: If one of them is not finite.
    """
    mean, std = float(raw.mean()), float(raw.std())
    if not math.isfinite(mean + std):
        raise ModelError("the fit diverged, so no reward model was written; lower learning_rate")
    return mean, max(std, 1e-6)
