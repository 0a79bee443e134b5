"""A score from rules a person can read: phrases to mention, phrases to avoid, a length."""

from collections.abc import Sequence

from ppo_tune.config.rewards import LengthRule, RuleRewardConfig
from ppo_tune.rewards.base import Columns, Reward
from ppo_tune.rewards.words import composed, count_words, phrase_pattern


class RuleReward(Reward):
    """Sum of the weights of what is mentioned, minus what should not be, plus the length's share.

    Phrases are matched as whole words where the script sets words off by spaces, ignoring case and which white
    space stands between their words.

    Args:
        config: The rules.
    """

    def __init__(self, config: RuleRewardConfig) -> None:
        self.include = [(phrase_pattern(text), weight) for text, weight in config.include.items()]
        self.avoid = [(phrase_pattern(text), weight) for text, weight in config.avoid.items()]
        self.length = config.length

    def score(self, prompts: Sequence[str], responses: Sequence[str], columns: Columns) -> list[float]:
        """One number per response; prompts and columns play no part."""
        return [self._score_one(response) for response in responses]

    def _score_one(self, response: str) -> float:
        response = composed(response)
        gained = sum(weight for phrase, weight in self.include if phrase.search(response))
        lost = sum(weight * len(phrase.findall(response)) for phrase, weight in self.avoid)
        return gained - lost + (length_score(count_words(response), self.length) if self.length else 0.0)


def length_score(n_words: int, rule: LengthRule) -> float:
    """The full weight inside the range, less by weight / high for each word outside, never below -weight."""
    outside = max(rule.low - n_words, n_words - rule.high, 0)
    return rule.weight * max(1.0 - outside / rule.high, -1.0)
