# mypy: ignore-errors
"""OpenRLHF 0.11.2's own code over our export: prompts, tokenizer, the executor that samples and asks for the reward.

Stubbed: the engine of vLLM, which answers what it is told. What imports vLLM or deepspeed is not run: nothing trains.
"""

import asyncio
from argparse import ArgumentParser
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import openrlhf
import pytest
from openrlhf.datasets.prompts_dataset import PromptDataset
from openrlhf.utils.agent import SingleTurnAgentExecutor
from openrlhf.utils.config import hierarchize
from openrlhf.utils.utils import get_tokenizer

from tests.export.calls import arguments
from tests.export.parsers import openrlhf_parser
from tests.export.peers.cases import NAMES, facts, folder

names = pytest.mark.parametrize("name", NAMES)


@cache
def parser() -> ArgumentParser:
    """Of its command."""
    return openrlhf_parser(Path(openrlhf.__file__).parent.parent)


def args_of(name: str) -> Any:
    """The options, as its entry point has them."""
    words = arguments(folder(name, "openrlhf"))
    assert words[:2] == ["-m", "openrlhf.cli.train_ppo_ray"]
    return hierarchize(parser().parse_args(words[2:]))


def prompts_of(args: Any) -> tuple[Any, PromptDataset]:
    """Tokenizer and prompts, as its trainer makes them."""
    tokenizer = get_tokenizer(args.actor.model_name_or_path, None, "left")
    rows = datasets.load_dataset("json", data_files=args.data.prompt_dataset)["train"]
    rows = rows.select(range(min(args.data.max_samples, len(rows))))
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: False)
    return tokenizer, PromptDataset(rows, tokenizer, strategy, input_template=args.data.input_template)


class Engine:
    """Stands for vLLM: answers with the next of the given responses, and keeps what it was asked."""

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers, self.asked = list(answers), []

    async def generate(self, prompt_token_ids: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        self.asked.append(list(prompt_token_ids))
        ids = self.answers[(len(self.asked) - 1) % len(self.answers)]
        reason = "stop" if ids[-1] == 0 else "length"
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason=reason, logprobs=None)])


def execute(args: Any, tokenizer: Any, engine: Engine, items: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One rollout of each prompt, all at once."""
    executor = SingleTurnAgentExecutor(args.reward.remote_url.split(","))
    params = SimpleNamespace(max_tokens=args.rollout.max_new_tokens, logprobs=None)

    async def ask() -> list[dict[str, Any]]:
        return await asyncio.gather(
            *[
                executor.execute(prompt, label, params, args.data.max_len, tokenizer, engine)
                for _, prompt, label, _ in items
            ]
        )

    return asyncio.run(ask())


@names
def test_prompts_reach_the_model_as_ppo_tune_gave_them(name: str) -> None:
    args, known = args_of(name), facts(name)
    tokenizer, prompts = prompts_of(args)
    engine = Engine([known["response_ids"][2]])

    execute(args, tokenizer, engine, [prompts[i] for i in range(len(prompts))])

    assert engine.asked == known["prompt_ids"]  # none of them cut
    assert args.data.max_len == max(map(len, engine.asked)) + args.rollout.max_new_tokens <= known["context"]


@names
def test_its_executor_scores_as_ppo_tune_does(name: str) -> None:
    args, known = args_of(name), facts(name)
    tokenizer, prompts = prompts_of(args)
    n = len(known["response_ids"])

    found = execute(args, tokenizer, Engine(known["response_ids"]), [prompts[0]] * (4 * n))  # threads at once

    assert [output["reward"] for output in found] == pytest.approx(known["scores"] * 4, abs=1e-5)
    assert [output["scores"] for output in found] == [output["reward"] for output in found]


def test_its_own_server_of_the_reward_model_is_asked_as_the_script_says() -> None:
    """What stands in the comment is read by its parser, and leaves the file out."""
    text = (folder("plain", "openrlhf") / "train.sh").read_text(encoding="utf-8")
    told = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    reward = str(Path(facts("plain")["model"]).parent / "reward")

    words = arguments(
        folder("plain", "openrlhf"), "--reward.remote_url", "", "--reward.model_name_or_path", reward
    )
    args = parser().parse_args(words[2:])

    assert f"--reward.remote_url '' --reward.model_name_or_path {reward} is faster" in told
    assert "then kl_coef is 0.1803, for 0.1244 / 0.69, its gain" in told
    assert not vars(args)["reward.remote_url"]
    assert vars(args)["reward.model_name_or_path"] == reward
