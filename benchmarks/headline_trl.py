"""The peer of the headline: TRL 1.12.0's PPOTrainer, a trial for every line it is sent.

Runs in an environment of its own (see `make benchmark`); speaks JSON lines with `headline.py`. A line is a trial:
`{"settings": {…}, "milestones": [256, 2560], "adapter": "/folder"}`. At each milestone the policy's adapter lies in the
folder, and `{"episodes": 256}` says so; the answer `{"goes_on": false}` ends the trial. Then `{"ending": "completed"}`
follows, or `pruned`, or `failed` with a `reason`.

What is run is the script that `ppo-tune export --to trl` writes, with settings that change from trial to trial, so
that policy, adapters, reward, gradient clipping and value head are those of ppo-tune. One process trains all trials,
on so many threads as it is told.
"""

import json
import os
import sys
from collections.abc import Collection
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS
from trl.experimental.ppo import ppo_trainer


class StoppedError(Exception):
    """The trial is not to go on."""


class Milestones(TrainerCallback):
    """Saves the adapter at each milestone, and waits for word whether to go on."""

    episodes: Collection[int] = ()
    adapter = Path()

    def on_step_end(self, args, state, control, model=None, **_):  # noqa: D102
        if state.episode in self.episodes:
            model.policy.save_pretrained(self.adapter)
            head = {
                name: tensor.detach().squeeze(0)
                for name, tensor in model.value_model.score.state_dict().items()
            }
            save_file({**head, "bias": head["bias"].reshape(())}, self.adapter / "value_head.safetensors")
            tell({"episodes": state.episode})
            if not json.loads(sys.stdin.readline())["goes_on"]:
                raise StoppedError


def load_script(path: Path) -> Any:
    """The exported script as a module."""
    spec = spec_from_file_location("exported", path)
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def train(script: Any) -> dict[str, str]:
    """Run the script; says how it ended."""
    score_tokens = ppo_trainer.get_reward
    try:
        script.main()
    except StoppedError:
        return {"ending": "pruned"}
    except (RuntimeError, ValueError) as error:  # of a policy that has diverged nothing can be sampled
        return {"ending": "failed", "reason": str(error)}
    finally:
        ppo_trainer.get_reward = score_tokens  # the script replaces it
    return {"ending": "completed"}


def tell(answer: dict[str, Any]) -> None:
    """Send a line."""
    print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Load the script of the folder that is named, and train until nobody asks for more."""
    torch.set_num_threads(int(sys.argv[2]))
    transformers.utils.logging.disable_progress_bar()
    DEFAULT_CALLBACKS.append(Milestones)
    script = load_script(Path(sys.argv[1], "train.py"))
    tell({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        trial = json.loads(line)
        script.AS_TUNED = trial["settings"]
        Milestones.episodes, Milestones.adapter = trial["milestones"], Path(trial["adapter"])
        tell(train(script))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    main()
