"""The card of a trained model: what it is, how it was made, and what the judges say."""

from ppo_tune.config.blocks import REWARD, TrainConfig
from ppo_tune.data.draws import measured_on
from ppo_tune.templates import render
from ppo_tune.trainer.evaluation import Evaluation
from ppo_tune.versions import versions


def model_card(config: TrainConfig, base: str, episodes: int, before: Evaluation, after: Evaluation) -> str:
    """Markdown with the metadata header that model hubs read; the evaluations are those of the training's claim."""
    return render(
        "model_card.md.jinja",
        config=config,
        episodes=episodes,
        base=base,
        before=before,
        after=after,
        watched=[name for name in after.judges if name != REWARD] or ["gold"],
        measured_on=measured_on(after.split, len(after.samples)),
        versions=versions(),
    )
