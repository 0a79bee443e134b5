"""What was set, as it was used."""

import numpy as np

from ppo_tune.reporting import settings
from tests.reporting.conftest import HandMade


def test_config_shows_what_default_and_winner_really_used(usual: HandMade) -> None:
    table = settings.config_table(usual.record()).set_index("name")

    assert table.loc["learning_rate", "default"] == 1e-4
    assert table.loc["learning_rate", "winner"] == 1e-3
    assert table.loc["gamma", "searched"] is np.False_ or not table.loc["gamma", "searched"]
    assert table.loc["batch_size", "searched"]
    assert "β" in table.loc["kl_coef", "meaning"]
