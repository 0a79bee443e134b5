"""Similarity of a response to reference texts: chrF, BLEU, ROUGE and METEOR, all offline and of one response."""

from collections.abc import Callable, Iterable, Sequence

from ppo_tune.config.rewards import Metric, ReferenceRewardConfig
from ppo_tune.errors import DataError, MissingExtraError, RewardError
from ppo_tune.rewards.base import Columns, Reward, sample
from ppo_tune.rewards.meteor import meteor
from ppo_tune.rewards.words import has_unspaced, words

Measure = Callable[[str, Sequence[str]], float]


def check_references(
    config: ReferenceRewardConfig, place: str, references: Iterable[tuple[str, Sequence[str] | None]]
) -> None:
    """Make sure that the library of the measure is installed and every prompt has a reference text.

    Args:
        config: Names the measure.
        place: Where the config stands, such as task.reward.
        references: Where each prompt came from, with its reference texts.

    Raises:
        MissingExtraError: If it is not installed.
        DataError: If a prompt has none.
    """
    reward = ReferenceReward(config)
    lacking = [where for where, texts in references if not texts]
    if lacking:
        raise DataError(
            f"{lacking[0] or 'prompt'}: {place}: {reward} needs reference texts, but {len(lacking):,} prompts have "
            "none, this one first; name their column with task.reference"
        )


class ReferenceReward(Reward):
    """Best similarity to any reference of the prompt, 0 to 100.

    Args:
        config: Names the measure.

    Raises:
        MissingExtraError: If the library of the measure is not installed.
    """

    def __init__(self, config: ReferenceRewardConfig) -> None:
        self.metric = config.metric
        self.measure = _measure(config.metric)

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One similarity per response."""
        references = columns.get("references", [[]] * len(responses))
        return [self._score_one(*row) for row in zip(prompts, responses, references, strict=True)]

    def _score_one(self, prompt: str, response: str, references: Sequence[str]) -> float:
        if not references:
            raise RewardError(
                f"{self} needs reference texts, but there are none for {sample(prompt, response)}; "
                "name their column with task.reference"
            )
        return self.measure(response, references)

    def __str__(self) -> str:
        return f"reward {self.metric}"


def _measure(name: Metric) -> Measure:
    match name:
        case "chrf":
            return _chrf()
        case "bleu":
            return _bleu()
        case "meteor":
            return _meteor
        case _:
            return _rouge(name)


def _bleu() -> Measure:
    """BLEU of one sentence, by as many n-grams as it has (effective order): never the mean of a corpus's."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise MissingExtraError("sacrebleu", "metrics") from None
    spaced, unspaced = (BLEU(effective_order=True, tokenize=by) for by in ("13a", "char"))

    def measure(response: str, references: Sequence[str]) -> float:
        metric = unspaced if any(map(has_unspaced, references)) else spaced
        return float(metric.sentence_score(response, list(references)).score)

    return measure


def _meteor(response: str, references: Sequence[str]) -> float:
    return 100 * max(meteor(words(response), words(reference)) for reference in references)


def _chrf() -> Measure:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise MissingExtraError("sacrebleu", "metrics") from None
    metric = CHRF()

    def measure(response: str, references: Sequence[str]) -> float:
        return float(metric.sentence_score(response, list(references)).score)

    return measure


class _Words:
    """The package's own tokenizer knows no letters but those of English."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return words(text)


def _rouge(name: str) -> Measure:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtraError("rouge-score", "metrics") from None
    scorer = RougeScorer([name], tokenizer=_Words())

    def measure(response: str, references: Sequence[str]) -> float:
        return 100 * max(float(scorer.score(reference, response)[name].fmeasure) for reference in references)

    return measure
