"""The card of a trained model: what it is, how it was made, and what the judges say."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from ppo_tune.config import TrainConfig
from ppo_tune.evaluation import Evaluation
from ppo_tune.versions import versions


def model_card(config: TrainConfig, base: str, episodes: int, before: Evaluation, after: Evaluation) -> str:
    """Markdown with the metadata header that model hubs read.

    Args:
        config: What it was trained with.
        base: The model it started from.
        episodes: How long it was trained.
        before: The base model on the held-out prompts.
        after: The trained model on the same prompts.
    """
    loader = PackageLoader("ppo_tune", "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)  # noqa: S701 Markdown
    return environment.get_template("model_card.md.jinja").render(
        config=config,
        episodes=episodes,
        base=base,
        before=before,
        after=after,
        versions=versions(),
    )
