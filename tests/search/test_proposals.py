"""The sampler of the model of all results: it goes where the score is, and not beyond the KL budget."""

import math
import random

from ppo_tune.config.methods import GPSamplerConfig
from ppo_tune.search.plan import SearchPlan
from tests.reporting.conftest import HandMade
from tests.worlds import OWNER


def test_trials_that_passed_the_kl_limit_are_seen_and_not_proposed_again(hand_made: HandMade) -> None:
    """The score rises with the learning rate; beyond 1e-3 every trial passes the KL limit."""
    update = {"sampler": GPSamplerConfig(name="gp"), "n_trials": 99, "seed": 1}
    config = hand_made.config.model_copy(update={"search": hand_made.config.search.model_copy(update=update)})
    rng = random.Random(0)
    for exponent in [-4 + 2 * i / 19 for i in range(20)]:
        params = {
            "learning_rate": 10**exponent,
            "batch_size": rng.choice([8, 16, 32]),
            "ppo_epochs": rng.randint(1, 4),
        }
        kl = 3.0 * 10 ** (2 * (exponent + 3))
        if kl > 6:
            hand_made.add("kl_limit", [exponent + 4], kl=kl, params=params)
        else:
            hand_made.add("completed", [exponent + 4] * 5, kl=kl, params=params)

    asked = [SearchPlan(config).ask(hand_made.study, 0, OWNER) for _ in range(4)]

    rates = [math.log10(trial.params["learning_rate"]) for trial in asked if trial is not None]
    assert len(rates) == 4
    assert max(rates) < -2.8
    assert max(rates) > -3.4
