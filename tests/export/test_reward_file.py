"""The reward of an exported script scores as ppo-tune's own does, alone and as each target calls it."""

import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from ppo_tune.config import PreferenceRewardConfig, ReferenceRewardConfig, RewardConfig
from ppo_tune.export import Scale, Sources, exporter
from ppo_tune.export.reward_file import score_source
from ppo_tune.prompts import Prompt
from ppo_tune.rewards import make_reward
from ppo_tune.rewards.preference import ScoreFormat
from tests.conftest import save_tiny_model, tiny_tokenizer
from tests.export.winners import RULE, python_reward, winner
from tests.rewards.test_preference import save_reward

PROMPTS, RESPONSES = ["a b", "c " * 40, "red d"], ["c d e", "f g", "red"]
COLUMNS = {"references": [["c d"], ["f"], ["red"]]}


def run(source: str, name: str = "exported") -> dict[str, Any]:
    """The names that a piece of Python defines."""
    scope: dict[str, Any] = {"__name__": name, "__file__": f"{name}.py"}
    exec(compile(source, name, "exec"), scope)
    return scope


def score_of(reward: RewardConfig) -> Any:
    """The function `score` of an exported script."""
    source = score_source(winner(sources=Sources("m", reward, ())))
    return run("\n".join([*source.imports, source.body]))["score"]


def expected(reward: RewardConfig) -> list[float]:
    """What ppo-tune scores."""
    scores: list[float] = make_reward(reward, torch.device("cpu"))(PROMPTS, RESPONSES, COLUMNS).tolist()
    return scores


@pytest.mark.parametrize(
    "sidecar", [None, ScoreFormat("{prompt} k {response}", append_eos=True, gain=2.0, bias=-0.5)]
)
@pytest.mark.parametrize("template", [None, "{response} m {prompt}"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_reward_model_is_read_as_ppo_tune_reads_it(
    tmp_path: Path, family: str, template: str | None, sidecar: ScoreFormat | None
) -> None:
    save_reward(tmp_path, family)
    if sidecar is not None:
        sidecar.write(tmp_path)
    reward = PreferenceRewardConfig(name="preference", model=str(tmp_path), template=template)

    scores = score_of(reward)(PROMPTS, RESPONSES, **COLUMNS)

    assert scores == pytest.approx(expected(reward), abs=1e-5)
    assert max(scores) - min(scores) > 0.01


@pytest.mark.parametrize("reward", [RULE, ReferenceRewardConfig(name="reference")])
def test_our_own_rewards_score_the_same(reward: RewardConfig) -> None:
    assert score_of(reward)(PROMPTS, RESPONSES, **COLUMNS) == expected(reward)


@pytest.fixture
def function_file(tmp_path: Path) -> Path:
    """A user's reward: the response's length, minus ten where the prompt asks for red, plus its number."""
    path = tmp_path / "it's mine.py"
    path.write_text(
        "def score(prompts, responses, number, references):\n"
        "    return [len(r) - 10 * ('red' in p) + n for p, r, n in zip(prompts, responses, number)]\n",
        encoding="utf-8",
    )
    return path


def files_of(target: str, function_file: Path, tokenizer: Path, **ppo: Any) -> dict[str, str]:
    """An export whose reward is the user's function, over two prompts."""
    given = python_reward(function_file)
    prompts = tuple(Prompt(text, {"number": i, "references": []}) for i, text in enumerate(("a b", "red c")))
    sources = Sources(str(tokenizer), given.sources.reward, prompts)
    made = exporter(target)(winner({"missing_eos_penalty": 1.5} if ppo else {}, sources=sources), Scale())
    return dict(made.files)


def test_openrlhf_calls_it_with_the_words_of_one_response(tmp_path: Path, function_file: Path) -> None:
    save_tiny_model(tmp_path / "model")
    tokenizer = tiny_tokenizer()
    files = files_of("openrlhf", function_file, tmp_path / "model", penalty=True)
    reward_func = run(files["reward.py"])["reward_func"]
    row = json.loads(files["prompts.jsonl"].splitlines()[1])

    def ask(response: str) -> Any:
        query = tokenizer.decode(tokenizer(f"{row['prompt']} {response}")["input_ids"])
        return reward_func([query], [row["prompt"]], [row["label"]])

    ended, cut_off = ask("d e f <eos>"), ask("d e f")

    assert ended["rewards"] == ended["scores"] == len("d e f") - 10 + 1
    assert cut_off["rewards"] == len("d e f") - 10 + 1 - 1.5


def test_verl_calls_it_with_one_response_and_what_belongs_to_its_prompt(
    tmp_path: Path, function_file: Path
) -> None:
    files = files_of("verl", function_file, tmp_path)
    row = json.loads(files["prompts.jsonl"].splitlines()[1])

    value = run(files["reward.py"])["compute_score"](
        data_source=row["data_source"],
        solution_str="d e f",
        ground_truth=row["reward_model"]["ground_truth"],
        extra_info=row["extra_info"],
    )

    assert value == 5 - 10 + 1
    assert row["prompt"] == [{"role": "user", "content": "red c"}]


def test_skyrl_asks_it_as_an_environment_of_one_step(tmp_path: Path, function_file: Path) -> None:
    files = files_of("skyrl", function_file, tmp_path)
    row = json.loads(files["prompts.jsonl"].splitlines()[1])
    extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")}
    with patch.dict(sys.modules, _skyrl_modules()):
        environment = run(files["train.py"])["RewardEnv"](env_config={}, extras=extras)

    step = environment.step("d e f")

    assert (step["reward"], step["done"], step["observations"]) == (5 - 10 + 1, True, [])
    assert f"environment.env_class={row['env_class']}" in files["train.sh"]
    assert f'register(id="{row["env_class"]}"' in files["train.py"]


def _skyrl_modules() -> dict[str, Any]:
    """As much of SkyRL as the file names."""

    class BaseTextEnv:
        """Its base class, which wants its constructor called."""

        def __init__(self) -> None:
            self.turns = 0

    modules: dict[str, Any] = {
        name: types.ModuleType(name)
        for name in (
            "ray", "skyrl_gym", "skyrl_gym.envs", "skyrl_gym.envs.base_text_env", "skyrl", "skyrl.train",
            "skyrl.train.config", "skyrl.train.entrypoints", "skyrl.train.entrypoints.main_base", "skyrl.train.utils",
            "skyrl.train.utils.utils",
        )
    }  # fmt: skip
    modules["ray"].remote = lambda **_: lambda function: function
    modules["skyrl_gym.envs.base_text_env"].BaseTextEnv = BaseTextEnv
    modules["skyrl_gym.envs.base_text_env"].BaseTextEnvStepOutput = dict
    modules["skyrl.train.config"].SkyRLTrainConfig = object
    modules["skyrl.train.entrypoints.main_base"].BasePPOExp = object
    modules["skyrl.train.utils"].validate_cfg = modules["skyrl.train.utils.utils"].initialize_ray = print
    return modules
