"""The reward of an exported script scores as ppo-tune's own does, alone and as each target calls it."""

import ast
import json
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

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


LETTERS = len(" d e f")
"""Of a response behind its prompt, the space between them included."""


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

    assert ended["rewards"] == ended["scores"] == LETTERS - 10 + 1
    assert cut_off["rewards"] == LETTERS - 10 + 1 - 1.5


VERL_BASE = "verl.experimental.reward_loop.reward_manager.base"


def verl_manager(source: str, tokenizer: Any) -> Any:
    """The reward manager of an exported file, as verl makes it; its base class stands for verl's."""

    class RewardManagerBase:
        """Keeps what it is given."""

        def __init__(self, config: Any, tokenizer: Any, compute_score: Any) -> None:
            self.tokenizer = tokenizer

    parts = VERL_BASE.split(".")
    modules = {
        name: types.ModuleType(name) for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    }
    modules[VERL_BASE].RewardManagerBase = RewardManagerBase  # type: ignore[attr-defined]
    with patch.dict(sys.modules, modules):
        manager = run(source)["PPOTuneReward"]
    return manager(None, tokenizer, None, reward_router_address=None)


def verl_item(row: Mapping[str, Any], prompt: Sequence[int], response: Sequence[int]) -> Any:
    """One sequence as verl pads it: prompts on the left, responses on the right."""
    pads = 3
    mask = [0] * pads + [1] * len(prompt) + [1] * len(response) + [0] * pads
    batch = {
        "prompts": torch.tensor([7] * pads + [*prompt]),
        "responses": torch.tensor([*response] + [7] * pads),
        "attention_mask": torch.tensor(mask),
    }
    return types.SimpleNamespace(batch=batch, non_tensor_batch={"extra_info": row["extra_info"]})


def test_verl_calls_it_with_one_response_and_what_belongs_to_its_prompt(
    tmp_path: Path, function_file: Path
) -> None:
    tokenizer = tiny_tokenizer()
    files = files_of("verl", function_file, tmp_path, penalty=True)
    row = json.loads(files["prompts.jsonl"].splitlines()[1])
    manager = verl_manager(files["reward.py"], tokenizer)

    def ask(response: str) -> Any:
        ids = [tokenizer(text)["input_ids"] for text in (row["prompt"][0]["content"], response)]
        return manager.score_one(verl_item(row, *ids))

    ended, cut_off = ask("d e f <eos>"), ask("d e f")

    assert row["prompt"] == [{"role": "user", "content": "red c"}]
    assert ended == {"reward_score": LETTERS - 10 + 1, "reward_extra_info": {}}
    assert cut_off["reward_score"] == LETTERS - 10 + 1 - 1.5


@pytest.mark.parametrize("target", ["openrlhf", "verl"])
def test_a_reward_model_gives_each_target_the_scores_of_ppo_tune(tmp_path: Path, target: str) -> None:
    """Cut off or ended: gain and bias, and the end-of-sequence token that the model was made with."""
    save_reward(tmp_path / "reward")
    save_tiny_model(tmp_path / "model")
    ScoreFormat("{prompt}{response}", append_eos=True, gain=2.0, bias=-0.5).write(tmp_path / "reward")
    reward = PreferenceRewardConfig(name="preference", model=str(tmp_path / "reward"))
    sources = Sources(str(tmp_path / "model"), reward, (Prompt("a b", {}),))
    files = exporter(target)(winner(sources=sources), Scale()).files
    row = json.loads(files["prompts.jsonl"])
    tokenizer = tiny_tokenizer()
    judge = make_reward(reward, torch.device("cpu"))

    for response in ("c d", "c d <eos>"):
        if target == "openrlhf":
            answer = run(files["reward.py"])["reward_func"](
                [f"a b {response}"], [row["prompt"]], [row["label"]]
            )
            found = answer["rewards"]
        else:
            ids = (tokenizer("a b")["input_ids"], tokenizer(response)["input_ids"])
            found = verl_manager(files["reward.py"], tokenizer).score_one(verl_item(row, *ids))[
                "reward_score"
            ]

        assert found == pytest.approx(judge(["a b"], [" c d"], {}).item(), abs=1e-5)


def test_a_response_keeps_its_first_space_where_a_tokenizer_drops_it_alone() -> None:
    """As Llama 2 does; prompt and response together must be what the model wrote."""
    tokenizer = Tokenizer(models.WordLevel({"\u2581a": 0, "\u2581b": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    files = exporter("verl")(winner(), Scale()).files
    parts = [
        node for node in ast.parse(files["reward.py"]).body if getattr(node, "name", "") == "response_text"
    ]
    response_text = run(ast.unparse(ast.Module(parts, [])))["response_text"]

    assert fast.decode([1]) == "b"
    assert response_text(fast, [0, 1], [1, 0]) == " b a"


def test_openrlhf_is_refused_a_rollout_that_has_lost_the_beginning_of_its_prompt(
    tmp_path: Path, function_file: Path
) -> None:
    save_tiny_model(tmp_path / "model")
    files = files_of("openrlhf", function_file, tmp_path / "model")
    row = json.loads(files["prompts.jsonl"].splitlines()[1])

    with pytest.raises(
        ValueError, match=r"--data\.max_len is too short for this prompt and a response: 'c d'"
    ):
        run(files["reward.py"])["reward_func"](["c d"], [row["prompt"]], [row["label"]])


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
