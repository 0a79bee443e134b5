# mypy: ignore-errors
"""The reward of an exported script scores as ppo-tune's own does, alone and as each target calls it."""

import ast
import json
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from ppo_tune.config.rewards import (
    PreferenceRewardConfig,
    PythonRewardConfig,
    ReferenceRewardConfig,
    RewardConfig,
    UnitTestsRewardConfig,
)
from ppo_tune.data.prompts import Prompt
from ppo_tune.export import TARGETS, Scale, Sources
from ppo_tune.export.reward_file import score_source
from ppo_tune.models import Sequences, decode_responses
from ppo_tune.models.text import pad_left
from ppo_tune.rewards import make_reward
from ppo_tune.rewards.score_format import ScoreFormat
from tests.conftest import VOCABULARY, save_tiny_model, tiny_tokenizer
from tests.export.winners import RULE, TOKENS, python_reward, winner
from tests.rewards.reward_models import CHAT, save_chat_reward, save_reward
from tests.tokenizers_of import KINDS

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
    imports, body = score_source(winner(sources=Sources("m", reward, ())))
    return run("\n".join([*imports, body]))["score"]


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


def test_unit_tests_are_run_by_our_own_judge() -> None:
    score = score_of(UnitTestsRewardConfig(name="unit_tests"))

    found = score(
        ["double 2"] * 2, ["x = 4", "x = 2"], tests=[["assert x == 4", "assert x"]] * 2, references=[[], []]
    )

    assert found == [1.0, 0.5]


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
    made = TARGETS[target](winner({"missing_eos_penalty": 1.5} if ppo else {}, sources=sources), Scale())
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
    files = TARGETS[target](winner(sources=sources), Scale()).files
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


def functions(source: str, *names: str) -> dict[str, Any]:
    """Functions of a script by name, run without the rest of it."""
    wanted = [node for node in ast.parse(source).body if getattr(node, "name", None) in names]
    return run("import os\n" + "\n".join(map(ast.unparse, wanted)))


PROMPT = "where is my order ?"


def as_ppo_tune_reads(tokenizer: Any, prompt_ids: list[int], ids: list[int]) -> str:
    """The text of a response."""
    mask = torch.ones(1, len(ids), dtype=torch.bool)
    ended = torch.zeros(1, dtype=torch.bool)
    (text,) = decode_responses(tokenizer, Sequences(pad_left([prompt_ids]), torch.tensor([ids]), mask, ended))
    return text


in_every_kind = pytest.mark.parametrize("kind", KINDS)
spoken = pytest.mark.parametrize(
    "response", [" sorry for the delay", "sorry", " très bien ok", " ok . sure !"]
)


@in_every_kind
@spoken
@pytest.mark.parametrize(("target", "file"), [("verl", "reward.py"), ("trl", "train.py")])
def test_a_response_is_read_in_its_place_as_ppo_tune_reads_it(
    kind: str, response: str, target: str, file: str
) -> None:
    tokenizer = KINDS[kind]()
    prompt_ids = tokenizer(PROMPT)["input_ids"]
    ids = tokenizer(PROMPT + response)["input_ids"][len(prompt_ids) :]
    read = functions(TARGETS[target](winner(), Scale()).files[file], "response_text")["response_text"]

    assert read(tokenizer, prompt_ids, ids) == as_ppo_tune_reads(tokenizer, prompt_ids, ids)


@in_every_kind
@spoken
def test_openrlhfs_text_of_both_becomes_the_response_that_ppo_tune_reads(
    tmp_path: Path, kind: str, response: str
) -> None:
    tokenizer = KINDS[kind]()
    asked: list[str] = []
    scope = run(TARGETS["openrlhf"](winner(), Scale()).files["reward.py"])
    scope["_tokenizers"].append(tokenizer)
    scope["score"] = lambda responses, **_: [asked.append(responses[0]) or 1.0]
    prompt_ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    ids = tokenizer(PROMPT + response, add_special_tokens=False)["input_ids"][len(prompt_ids) :]

    for end in ([], [tokenizer.eos_token_id]):
        query = tokenizer.decode([*prompt_ids, *ids, *end])
        scope["reward_func"]([query], [PROMPT], [json.dumps({"prompt": PROMPT, "columns": {}})])

    assert asked == [as_ppo_tune_reads(tokenizer, prompt_ids, ids)] * 2


@pytest.mark.parametrize(
    ("prompt", "response"), [("d e", " f"), ("d", " f<e><t> b g"), ("d " * 40, " f"), ("d", "")]
)
@pytest.mark.parametrize("begins", [False, True])
def test_a_reward_model_that_reads_chats_is_given_chats(
    tmp_path: Path, prompt: str, response: str, begins: bool
) -> None:
    save_chat_reward(tmp_path, "{{ bos_token }} " + CHAT if begins else CHAT, begins=begins)
    reward = PreferenceRewardConfig(name="preference", model=str(tmp_path))

    found = score_of(reward)([prompt], [response])

    assert found == pytest.approx(
        make_reward(reward, torch.device("cpu"))([prompt], [response], {}).tolist(), abs=1e-5
    )


def test_an_encoder_reads_no_more_than_its_positions(tmp_path: Path) -> None:
    """RoBERTa's first two positions are no text's."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(vocab_size=len(VOCABULARY), max_position_embeddings=12, num_labels=1, **sizes)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer(eos_token=None, bos_token=None).save_pretrained(tmp_path)
    score = score_of(PreferenceRewardConfig(name="preference", model=str(tmp_path)))

    assert score(["a " * 30], [" b c"]) == pytest.approx(score(["a " * 8], [" b c"]), abs=1e-6)


def test_a_function_finds_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "words_of_mine.py").write_text("WORTH = {'red': 3.0}\n", encoding="utf-8")
    (tmp_path / "reward.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom words_of_mine import WORTH\n"
        "@dataclass\nclass Found:\n    value: float\n"
        "def score(prompts, responses):\n    return [Found(WORTH.get(r, 0)).value for r in responses]\n",
        encoding="utf-8",
    )
    reward = PythonRewardConfig(name="python", function=f"{tmp_path / 'reward.py'}:score")

    with patch.object(sys, "path", [*sys.path]), patch.dict(sys.modules):
        assert score_of(reward)(["a", "b"], ["red", "blue"]) == [3.0, 0.0]


def test_what_the_task_names_ends_a_response_and_is_no_part_of_it(
    tmp_path: Path, function_file: Path
) -> None:
    """`k` is an ordinary word of the tokenizer."""
    save_tiny_model(tmp_path / "model")
    tokenizer = tiny_tokenizer()
    given = python_reward(function_file)
    prompts = (Prompt("red c", {"number": 1, "references": []}),)
    tokens = replace(TOKENS, ends={0: "<eos>", 12: "k"}, stops=(12,))
    sources = Sources(str(tmp_path / "model"), given.sources.reward, prompts, tokens=tokens)
    made = {
        t: TARGETS[t](winner({"missing_eos_penalty": 1.5}, sources=sources), Scale()).files
        for t in ("openrlhf", "verl")
    }
    rows = {target: json.loads(files["prompts.jsonl"]) for target, files in made.items()}

    ids = (tokenizer("red c")["input_ids"], tokenizer("d e f k")["input_ids"])
    verl = verl_manager(made["verl"]["reward.py"], tokenizer).score_one(verl_item(rows["verl"], *ids))
    query = tokenizer.decode([*ids[0], *ids[1]])
    row = rows["openrlhf"]
    reward_func = run(made["openrlhf"]["reward.py"])["reward_func"]

    assert verl["reward_score"] == LETTERS - 10 + 1
    assert VOCABULARY[12] == "k"
    assert reward_func([query], [row["prompt"]], [row["label"]])["rewards"] == LETTERS - 10 + 1


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


def test_skyrl_scores_the_tokens_of_an_episode_of_one_step(tmp_path: Path, function_file: Path) -> None:
    tokenizer = tiny_tokenizer()
    files = files_of("skyrl", function_file, tmp_path, penalty=True)
    row = json.loads(files["prompts.jsonl"].splitlines()[1])
    extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")}
    with patch.dict(sys.modules, _skyrl_modules()):
        script = run(files["train.py"])
    generator = script["ScoringGenerator"]()
    generator.tokenizer = tokenizer

    def ask(response: str) -> Any:
        ids = [tokenizer(text)["input_ids"] for text in ("red c", response)]
        output = types.SimpleNamespace(prompt_ids=ids[0], response_ids=ids[1], reward=None)
        return generator._post_process_agent_loop_output(output, extras, None).reward

    step = script["OneResponse"](env_config={}, extras=extras).step("d e f")

    assert (step["reward"], step["done"], step["observations"]) == (0.0, True, [])
    assert ask("d e f <eos>") == [0.0, 0.0, 0.0, LETTERS - 10 + 1]
    assert ask("d e f") == [0.0, 0.0, LETTERS - 10 + 1 - 1.5]
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
            "skyrl.train.utils.utils", "skyrl.train.generators", "skyrl.train.generators.skyrl_gym_generator",
            "skyrl.backends", "skyrl.backends.skyrl_train", "skyrl.backends.skyrl_train.inference_servers",
            "skyrl.backends.skyrl_train.inference_servers.utils",
        )
    }  # fmt: skip
    modules["ray"].remote = lambda **_: lambda function: function
    modules["skyrl_gym.envs.base_text_env"].BaseTextEnv = BaseTextEnv
    modules["skyrl_gym.envs.base_text_env"].BaseTextEnvStepOutput = dict
    modules["skyrl.train.config"].SkyRLTrainConfig = object
    modules["skyrl.train.entrypoints.main_base"].BasePPOExp = object
    modules["skyrl.train.generators.skyrl_gym_generator"].SkyRLGymGenerator = type("Generator", (), {})
    modules["skyrl.backends.skyrl_train.inference_servers.utils"].resolve_policy_model_name = print
    modules["skyrl.train.utils"].validate_cfg = modules["skyrl.train.utils.utils"].initialize_ray = print
    return modules
