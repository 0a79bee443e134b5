"""Numbers that change their unit on the way, worked by hand from what each target's source does with them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from jinja2 import Environment

from ppo_tune.export import TARGETS, Scale, Sources, Winner
from ppo_tune.export.base import Conversion, TokenFacts
from tests.export.derive import CONVERTERS
from tests.export.winners import (
    HOSTILE,
    LOUD,
    PROMPTS,
    QUICKSTART,
    TOKENS,
    WINNERS,
    python_reward,
    reward_model_sources,
    winner,
)

LOUD_K2 = WINNERS["loud, fixed"]


def values(target: str, given: Winner) -> dict[str, Any]:
    """Settings by name."""
    made: Conversion = CONVERTERS[target](given)
    return {setting.name.lstrip("+"): setting.value for setting in (*made.settings, *made.constants)}


def remarks(target: str, given: Winner, kind: str) -> dict[str, str]:
    """Texts by the names that they concern."""
    made: Conversion = CONVERTERS[target](given)
    found: dict[str, str] = {}
    for remark in getattr(made, kind):
        for name in remark.fields:
            found[name] = f"{found.get(name, '')} {remark.text}".strip()
    return found


TARGETS_PER_TOKEN = {
    "openrlhf": ("--algo.kl.target", "--algo.kl.horizon"),
    "verl": ("algorithm.kl_ctrl.target_kl", "algorithm.kl_ctrl.horizon"),
    "skyrl": ("trainer.algorithm.kl_ctrl.kl_target", "trainer.algorithm.kl_ctrl.horizon"),
}


@pytest.mark.parametrize("target", TARGETS_PER_TOKEN)
def test_a_kl_target_per_sequence_becomes_one_per_token(target: str) -> None:
    given = winner({**LOUD, "kl_target": 6.0}, response_tokens=7.5)
    target_name, horizon_name = TARGETS_PER_TOKEN[target]

    exported = values(target, given)

    assert exported[target_name] == 0.8  # 6 nats over 7.5 tokens
    assert exported[horizon_name] == 5000  # of 5000.5 episodes
    altered = remarks(target, given, "approximated")
    assert "divided by the mean of 7.5 tokens" in altered["kl_target"]
    assert "5000.5 is rounded to 5000" in altered["kl_horizon"]


@pytest.mark.parametrize("target", TARGETS_PER_TOKEN)
def test_without_a_measured_length_the_longest_is_taken_and_said(target: str) -> None:
    given = winner({**LOUD, "kl_target": 7.0}, response_tokens=None)

    assert values(target, given)[TARGETS_PER_TOKEN[target][0]] == 0.5  # 7 nats over 14 tokens
    assert "divided by max_new_tokens = 14" in remarks(target, given, "approximated")["kl_target"]


def test_trl_keeps_the_kl_target_per_sequence() -> None:
    exported = values("trl", winner({**LOUD, "kl_target": 6.0}))

    assert (exported["KL_TARGET"], exported["KL_HORIZON"]) == (6.0, 5000.5)


@pytest.mark.parametrize("target", TARGETS_PER_TOKEN)
def test_without_a_target_the_coefficient_is_fixed(target: str) -> None:
    exported = values(target, WINNERS["quickstart"])

    assert all(exported[name] is None for name in TARGETS_PER_TOKEN[target])
    assert exported.get("algorithm.kl_ctrl.type", "fixed") == "fixed"
    assert exported.get("trainer.algorithm.kl_ctrl.type", "fixed") == "fixed"


@pytest.mark.parametrize(("rollout", "batch", "mini_batches"), [(64, 16, 4), (64, 64, 1), (96, 32, 3)])
def test_trl_takes_one_optimizer_step_per_mini_batch_without_accumulating(
    rollout: int, batch: int, mini_batches: int
) -> None:
    given = winner({**QUICKSTART, "rollout_size": rollout, "batch_size": batch, "micro_batch_size": 8})

    exported = values("trl", given)

    assert exported["per_device_train_batch_size"] == rollout
    assert exported["num_mini_batches"] == mini_batches
    assert exported["gradient_accumulation_steps"] == 1
    assert exported["num_mini_batches"] * exported["num_ppo_epochs"] == given.config.ppo.steps_per_iteration
    told = remarks("trl", given, "approximated")["micro_batch_size"]
    assert f"each mini-batch of {batch} responses goes through the model in one pass" in told


def test_trl_says_what_its_estimators_and_whitening_do_not_know() -> None:
    small = winner({**LOUD, "batch_size": 4, "micro_batch_size": 4})

    assert values("trl", LOUD_K2)["kl_estimator"] == "k1"
    assert "knows k1 and k3, not k2" in remarks("trl", LOUD_K2, "unsupported")["kl_estimator"]
    assert values("trl", WINNERS["loud"])["whiten_rewards"] is True
    assert values("trl", small)["whiten_rewards"] is False
    assert "wants a batch_size of 8 or more" in remarks("trl", small, "unsupported")["whiten_rewards"]


def test_trl_stops_at_the_end_of_sequence_and_penalizes_only_when_asked() -> None:
    assert values("trl", WINNERS["quickstart"])["stop_token"] == "eos"
    assert values("trl", WINNERS["quickstart"])["missing_eos_penalty"] is None
    assert values("trl", WINNERS["loud"])["missing_eos_penalty"] == 1.5


def test_verl_reads_all_three_clips_and_needs_the_kl_switched_on() -> None:
    exported = values("verl", WINNERS["quickstart"])
    actor = "actor_rollout_ref.actor"

    assert {exported[f"{actor}.clip_ratio{end}"] for end in ("", "_low", "_high")} == {0.31}
    assert exported["algorithm.use_kl_in_reward"] is True
    assert exported[f"{actor}.use_kl_loss"] is False
    assert exported["algorithm.kl_ctrl.kl_coef"] == 0.0123
    assert exported[f"{actor}.shuffle"] is True
    assert exported[f"{actor}.clip_ratio_c"] == 1e6  # cannot be off
    assert "cannot be switched off" in remarks("verl", WINNERS["quickstart"], "approximated")["dual_clip"]
    assert values("verl", WINNERS["loud"])[f"{actor}.clip_ratio_c"] == 3.5


@pytest.mark.parametrize(("ours", "theirs"), [("k1", "kl"), ("k2", "mse"), ("k3", "low_var_kl")])
def test_verls_names_of_the_kl_estimators(ours: str, theirs: str) -> None:
    assert values("verl", winner({**LOUD, "kl_estimator": ours}))["algorithm.kl_penalty"] == theirs


def test_the_budget_in_rollouts() -> None:
    given = winner({**QUICKSTART, "episodes": 10_000, "rollout_size": 64})  # 156.25 rollouts

    assert values("verl", given)["trainer.total_training_steps"] == 157
    assert values("skyrl", given)["trainer.max_training_steps"] == 157
    assert values("trl", given)["total_episodes"] == 10_000


@pytest.mark.parametrize(
    ("n_prompts", "episodes", "passes", "prompts"),
    [
        (2424, 10_240, 5, 2048),  # 160 rollouts of 64, at most 37 a pass: 5 passes of 32
        (100, 10_240, 160, 64),  # one rollout a pass
        (20_000, 10_240, 1, 10_240),
        (64, 64, 1, 64),
        (None, 10_240, 1, 10_240),
    ],
)
def test_openrlhf_passes_over_the_prompts_in_whole_rollouts(
    n_prompts: int | None, episodes: int, passes: int, prompts: int
) -> None:
    known = None if n_prompts is None else (PROMPTS * 200)[:n_prompts]
    given = winner({**QUICKSTART, "episodes": episodes}, sources=Sources("m", None, known))

    exported = values("openrlhf", given)

    assert (exported["--train.num_episodes"], exported["--data.max_samples"]) == (passes, prompts)
    assert passes * prompts >= episodes


def test_openrlhf_has_no_word_for_off_in_clips() -> None:
    exported = values("openrlhf", WINNERS["quickstart"])

    assert exported["--critic.value_clip"] == 1e6  # its default is 0.5
    assert exported["--reward.clip_range"] == [-1e6, 1e6]  # its default is ±10
    assert exported["--actor.dual_clip"] is None
    assert values("openrlhf", WINNERS["loud"])["--critic.value_clip"] == 0.25


def test_skyrl_switches_what_is_off_to_null_and_says_what_it_never_reads() -> None:
    exported = values("skyrl", WINNERS["quickstart"])

    assert exported["trainer.algorithm.value_clip"].text == "null"
    assert exported["trainer.algorithm.policy_loss_type"] == "regular"
    assert exported["generator.n_samples_per_prompt"] == 1  # its default is 5
    assert "torch's 1e-08" in remarks("skyrl", WINNERS["quickstart"], "unsupported")["adam_epsilon"]
    assert values("skyrl", WINNERS["loud"])["trainer.algorithm.policy_loss_type"] == "dual_clip"


OPTIMIZERS = {
    "openrlhf": ("--{}.adam.lr", "--{}.adam.eps", "--{}.adam.weight_decay", "--{}.adam.betas", "--{}.max_norm"),
    "verl": (
        "{}.optim.lr", "{}.optim.override_optimizer_config.eps", "{}.optim.weight_decay", "{}.optim.betas",
        "{}.optim.clip_grad",
    ),
    "skyrl": (
        "trainer.{}.optimizer_config.lr", None, "trainer.{}.optimizer_config.weight_decay",
        "trainer.{}.optimizer_config.adam_betas", "trainer.{}.optimizer_config.max_grad_norm",
    ),
}  # fmt: skip
NETWORKS = {
    "openrlhf": ("actor", "critic"),
    "verl": ("actor_rollout_ref.actor", "critic"),
    "skyrl": ("policy", "critic"),
}


@pytest.mark.parametrize("target", OPTIMIZERS)
def test_both_networks_get_the_very_optimizer(target: str) -> None:
    exported = values(target, WINNERS["loud"])

    for network in NETWORKS[target]:
        found = [exported[name.format(network)] if name else None for name in OPTIMIZERS[target]]

        assert found == [0.004123, 3e-6 if OPTIMIZERS[target][1] else None, 0.0, [0.9, 0.999], 0.7]
    assert "a model of its own" in remarks(target, WINNERS["loud"], "unsupported")["vf_coef"]


@pytest.mark.parametrize(
    ("target", "constant", "linear"),
    [
        ("openrlhf", ("--actor.lr_scheduler", "constant"), "linear"),
        ("verl", ("actor_rollout_ref.actor.optim.lr_scheduler_type", "constant"), "cosine"),
        ("skyrl", ("trainer.policy.optimizer_config.scheduler", "constant_with_warmup"), "linear"),
        ("trl", ("lr_scheduler_type", "constant"), "linear"),
    ],
)
def test_schedules_by_their_names(target: str, constant: tuple[str, str], linear: str) -> None:
    name, expected = constant

    assert values(target, WINNERS["quickstart"])[name] == expected
    assert values(target, WINNERS["loud"])[name] == linear
    assert ("lr_schedule" in remarks(target, WINNERS["loud"], "approximated")) == (target != "trl")


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        ("openrlhf", {"vf_coef", "whiten_rewards", "kl_budget"}),
        ("verl", {"vf_coef", "whiten_rewards", "kl_budget"}),
        ("skyrl", {"vf_coef", "whiten_rewards", "kl_budget", "adam_epsilon"}),
        ("trl", {"dual_clip", "ent_coef", "kl_budget"}),
    ],
)
def test_what_each_target_cannot_do(target: str, lost: set[str]) -> None:
    assert set(remarks(target, WINNERS["loud"], "unsupported")) == lost


def test_what_is_off_is_not_lost() -> None:
    quiet = replace(
        WINNERS["quickstart"], config=WINNERS["quickstart"].config.model_copy(update={"kl_budget": None})
    )

    assert set(remarks("openrlhf", quiet, "unsupported")) == {"vf_coef"}
    assert set(remarks("trl", quiet, "unsupported")) == set()


def test_a_function_as_the_reward_of_openrlhf_subtracts_the_penalty_itself() -> None:
    given = python_reward(ppo=LOUD)

    assert "missing_eos_penalty" not in remarks("openrlhf", given, "unsupported")
    assert values("openrlhf", given)["--reward.remote_url"].name == "reward.py"
    assert "--reward.model_name_or_path" not in values("openrlhf", given)


def test_prompts_are_plain_unless_they_were_wrapped() -> None:
    template, chat = "actor_rollout_ref.model.custom_chat_template", WINNERS["rule, chat"]

    assert "{{ message['content'] }}" in values("verl", WINNERS["quickstart"])[template]
    assert template not in values("verl", chat)
    assert values("openrlhf", chat)["--data.apply_chat_template"] is True
    assert "--data.apply_chat_template" not in values("openrlhf", WINNERS["quickstart"])
    assert "wraps every prompt" in remarks("skyrl", WINNERS["quickstart"], "approximated")["prompts"]
    assert "wraps every prompt" not in remarks("skyrl", chat, "approximated")["prompts"]


def test_a_token_that_begins_every_prompt_is_written_before_it() -> None:
    begun = winner(sources=reward_model_sources(tokens=replace(TOKENS, before="<s>")))
    rows = TARGETS["openrlhf"](begun, Scale()).files["prompts.jsonl"].splitlines()
    template = values("verl", begun)["actor_rollout_ref.model.custom_chat_template"]
    message = [{"role": "user", "content": "say 7"}]

    assert json.loads(rows[7])["prompt"] == "<s>say 7"
    assert json.loads(json.loads(rows[7])["label"])["prompt"] == "say 7"  # what the reward reads
    assert Environment().from_string(template).render(messages=message) == "<s>say 7"
    assert repr(template) in TARGETS["skyrl"](begun, Scale()).files["train.py"]
    assert "prompts" not in remarks("openrlhf", begun, "approximated")


@pytest.mark.parametrize("before", [HOSTILE, "<s>", '"{{ 1 }}"\\'])
def test_whatever_begins_a_prompt_stands_before_it_as_it_is(before: str) -> None:
    begun = winner(sources=reward_model_sources(tokens=replace(TOKENS, before=before)))
    template = values("verl", begun)["actor_rollout_ref.model.custom_chat_template"]

    assert Environment().from_string(template).render(messages=[{"content": "x"}]) == before + "x"


REWARD_UNITS = {
    "openrlhf": ("--algo.kl.init_coef", "--critic.value_clip"),
    "verl": ("algorithm.kl_ctrl.kl_coef", "critic.cliprange_value"),
}


@pytest.mark.parametrize("target", REWARD_UNITS)
def test_the_reward_is_in_our_unit_and_the_raw_one_is_told(target: str) -> None:
    given = winner(
        {**QUICKSTART, "kl_coef": 0.1244, "clip_range_value": 0.345}, sources=reward_model_sources(0.69)
    )
    kl_name, clip_name = REWARD_UNITS[target]

    exported = values(target, given)

    assert (exported[kl_name], exported[clip_name]) == (0.1244, 0.345)  # reward.py multiplies by the gain
    told = remarks(target, given, "approximated")["reward"]
    assert (
        "then kl_coef is 0.1803, for 0.1244 / 0.69 and clip_range_value is 0.5, for 0.345 / 0.69, its gain"
        in told
    )
    assert "models/reward" in told  # how the target's own server is asked


@pytest.mark.parametrize("target", REWARD_UNITS)
@pytest.mark.parametrize(
    ("gain", "words"), [(1.0, "at another token."), (None, "then divide kl_coef by the gain")]
)
def test_a_gain_of_one_changes_nothing_and_one_unknown_is_said_to_be(
    target: str, gain: float | None, words: str
) -> None:
    told = remarks(target, winner(sources=reward_model_sources(gain)), "approximated")["reward"]

    assert words in f"{told}."


@pytest.mark.parametrize("target", REWARD_UNITS)
def test_a_reward_that_is_a_function_has_no_server_and_no_gain(target: str) -> None:
    told = remarks(target, python_reward("functions/mine.py"), "approximated")["reward"]

    assert "gain" not in told
    assert (
        "a copy, functions/mine.py, with the modules of yours that it imports; put beside it what else it"
        in told
    )


def test_verl_saves_what_it_has_trained_once_at_the_end() -> None:
    given = winner({**QUICKSTART, "episodes": 10_240, "rollout_size": 64})

    exported = values("verl", given)

    assert exported["trainer.save_freq"] == exported["trainer.total_training_steps"] == 160
    assert "verl.model_merger merge" in str(CONVERTERS["verl"](given).approximated)


@pytest.mark.parametrize(
    ("std", "weight", "told"),
    [
        (2.0, 0.05, "ours is of values in units of score_std: 0.2 / 2²"),
        (0.1, 20.0, "ours is of values in units of score_std: 0.2 / 0.1²"),
        (1.0, 0.2, ""),
        (None, 0.2, "score_std, which is not known here: divide by its square"),
    ],
)
def test_trl_weighs_a_value_loss_in_the_unit_of_the_reward(
    std: float | None, weight: float, told: str
) -> None:
    """Ours is mean((v - R)² / σ²) and TRL's mean((v - R)²), each times ½ and its weight."""
    given = winner({**LOUD, "vf_coef": 0.2})
    given = replace(given, config=given.config.model_copy(update={"score_std": std}))

    (setting,) = [setting for setting in CONVERTERS["trl"](given).settings if setting.name == "vf_coef"]

    assert setting.value == pytest.approx(weight)
    assert setting.note.endswith(told)
    assert values("trl", given)["cliprange_value"] == 0.25  # in the unit of the reward, there and here


STOPPED = replace(TOKENS, ends={0: "<eos>", 14: "<turn>"}, stops=(14,))


@pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl"])
def test_a_stop_token_that_only_the_task_names_is_said_to_be_lost(target: str) -> None:
    told = remarks(target, winner(sources=reward_model_sources(tokens=STOPPED)), "approximated")["stop"]

    assert "at '<turn>' (id 14) too" in told
    assert "stop" not in remarks(target, winner(), "approximated")


def test_trl_ends_responses_at_the_tasks_own_token_and_at_no_other() -> None:
    given = winner(sources=reward_model_sources(tokens=STOPPED))

    assert values("trl", given)["STOP_TOKEN"] == "<turn>"
    assert (
        "'<eos>' ended one in ppo-tune too, and does not here"
        in remarks("trl", given, "approximated")["stop"]
    )
    assert values("trl", winner())["STOP_TOKEN"] == ""
    assert "stop" not in remarks("trl", winner(), "approximated")


@pytest.mark.parametrize("target", CONVERTERS)
def test_a_text_that_ends_responses_is_said_to_be_lost_by_every_target(target: str) -> None:
    tokens = replace(TOKENS, stop_texts=("\n\nHuman:",))

    told = remarks(target, winner(sources=reward_model_sources(tokens=tokens)), "approximated")["stop"]

    assert told.startswith(r"ppo-tune ends a response at the text '\n\nHuman:' too")


PROMPT_ROOM = {"verl": "data.max_prompt_length", "skyrl": "trainer.max_prompt_length"}


@pytest.mark.parametrize(
    ("tokens", "room"),
    [
        (TokenFacts(longest_prompt=9, context=64), 9),
        (TokenFacts(longest_prompt=700, context=8192), 700),
        (TokenFacts(context=64), 50),  # 64 less a response of 14
        (TokenFacts(context=8192), 512),
        (TokenFacts(), 512),
    ],
)
def test_there_is_room_for_the_longest_prompt_and_never_more_than_the_context(
    tokens: TokenFacts, room: int
) -> None:
    given = winner(sources=reward_model_sources(tokens=tokens))

    assert values("openrlhf", given)["--data.max_len"] == room + 14
    assert room + 14 <= (tokens.context or 1e9)
    for target, name in PROMPT_ROOM.items():
        assert values(target, given)[name] == room
    guessed = "how long they are is not known" in str(CONVERTERS["openrlhf"](given).approximated)
    assert guessed == (tokens.longest_prompt is None)


@pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl", "trl"])
def test_all_weights_mean_no_adapters_and_float32_is_lost_on_a_gpu(target: str) -> None:
    exported = values(target, WINNERS["all weights"])
    ranks = [value for name, value in exported.items() if name.lower().endswith(("lora.rank", "lora_rank"))]

    assert ranks
    assert set(ranks) == {0}
    if target == "trl":
        assert exported["BFLOAT16"] is False
    else:
        assert "bfloat16" in remarks(target, WINNERS["all weights"], "unsupported")["dtype"]


def test_an_odd_adapter_scale_is_rounded_where_it_must_be() -> None:
    given = winner(model={"lora_rank": 4, "lora_alpha": 7.5})

    assert values("trl", given)["LORA_ALPHA"] == 7.5
    assert values("openrlhf", given)["--ds.lora.alpha"] == 8
    assert "7.5 is rounded to 8" in remarks("openrlhf", given, "approximated")["lora_alpha"]


@pytest.mark.parametrize("target", ["openrlhf", "verl", "skyrl", "trl"])
def test_rank_stabilized_adapters_are_plain_ones_of_alpha_times_the_root_of_the_rank(target: str) -> None:
    given = WINNERS["rank-stabilized"]
    made = CONVERTERS[target](given)

    alphas = [
        s for s in (*made.settings, *made.constants) if s.name.lower().endswith(("lora.alpha", "lora_alpha"))
    ]

    assert alphas
    assert {(alpha.value, alpha.note) for alpha in alphas} == {(12, "rslora: 6 · √4")}


def test_the_alpha_of_rank_stabilized_adapters_is_rounded_where_it_must_be() -> None:
    given = winner(model={"lora_rank": 2, "lora_alpha": 16.0, "adapter": "rslora"})

    assert values("trl", given)["LORA_ALPHA"] == 22.6274
    assert values("verl", given)["actor_rollout_ref.model.lora_alpha"] == 23
    assert "22.6274 is rounded to 23" in remarks("verl", given, "approximated")["lora_alpha"]
