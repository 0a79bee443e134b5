"""What any training needs, and one config at full length: a training file as a whole."""

from pydantic import Field

from ppo_tune.config.block import Block, Text
from ppo_tune.config.methods import Loggers
from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.tasks import TaskConfig


class RunConfig(Block):
    """What any training needs: a task, a model and hyperparameters."""

    task: TaskConfig
    model: ModelConfig = ModelConfig()
    ppo: PPOConfig = PPOConfig()

    @property
    def widest_model(self) -> ModelConfig:
        """The model with adapters that are as wide as any trial wants them."""
        return self.model

    @property
    def adapters_vary(self) -> bool:
        """Whether trials differ in their adapters."""
        return False


class TrainConfig(RunConfig):
    """One config at full length, as `ppo-tune export` writes it."""

    name: Text = Field("run", description="What the model is called; left out: the file's name.")
    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    kl_budget: float | None = Field(
        None,
        gt=0,
        description="The model kept is the best evaluated within this KL, in nats per sequence; null: the last.",
    )
    score_std: float | None = Field(
        None,
        gt=0,
        description="Standard deviation of the untrained model's scores, the unit in which values are learned; null: "
        "measured before the training.",
    )
    log: Loggers = ()
