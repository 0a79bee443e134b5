"""TRL 1.12.0 trains by our exported script, for a few rollouts of a tiny model on the CPU; nothing is stubbed."""

import json
import math
import os
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from tests.export.peers.cases import NAMES, facts, folder


@pytest.mark.parametrize("name", NAMES)
def test_the_script_trains_and_saves_what_is_loaded_again(name: str) -> None:
    here = folder(name, "trl")

    done = subprocess.run(
        [sys.executable, here / "train.py"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    logs = [
        json.loads(line.replace("'", '"'))
        for line in done.stdout.replace("nan", "NaN").splitlines()
        if line.startswith("{'")
    ]
    told = {key: value for log in logs for key, value in log.items()}
    known = facts(name)
    assert abs(float(logs[0]["objective/kl"])) < 1e-5  # the untrained policy is its reference
    assert all(math.isfinite(float(value)) for value in told.values())
    assert min(known["scores"]) - 20 < float(told["objective/scores"]) < max(known["scores"]) + 20
    saved = here / "trained"
    if (saved / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        AutoPeftModelForCausalLM.from_pretrained(saved)
    else:
        AutoModelForCausalLM.from_pretrained(saved)
