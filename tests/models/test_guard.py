# mypy: ignore-errors
"""A model is heard before it is trained: one that does not say the same of the same text is refused, whatever it is."""

import functools
import re

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperForCausalLM,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from ppo_tune.config.model import ModelConfig
from ppo_tune.errors import ModelError
from ppo_tune.models import Policy, load_policy
from ppo_tune.models.guard import LONG, SHORT, TOLERANCES, Tolerance, require_reference, two_prompts
from ppo_tune.trainer.trainer import PPOTrainer
from tests.conftest import (
    LIKES,
    VOCABULARY,
    WordReward,
    make_toy_task,
    small_config,
    tiny_model,
    tiny_policy,
    tiny_tokenizer,
)

SPECIAL = {"vocab_size": len(VOCABULARY), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 15}
SMALL = {"num_hidden_layers": 1, "initializer_range": 0.3, **SPECIAL}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


class InventedConfig(PreTrainedConfig):
    model_type = "invented"
    num_hidden_layers = 1
    num_attention_heads = 1
    hidden_size = 8
    fault: str | None = None


class Invented(PreTrainedModel):
    """What follows a token depends on it and on the mean of all that was read, as far as `fault` allows."""

    config_class = InventedConfig
    _no_split_modules = ()

    def __init__(self, config: InventedConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(64, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.fault = config.fault
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            torch.nn.init.normal_(parameter)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(
        self, input_ids: Tensor, attention_mask=None, position_ids=None, past_key_values=None,
        logits_to_keep: int = 0, **_: object,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        if self.fault == "fails" and past_key_values is not None and input_ids.shape[1] == 1:
            raise KeyError("a state that nobody keeps")
        n, length = input_ids.shape
        if position_ids is None:
            start = 3 if self.fault == "starts at three" else 0
            position_ids = torch.arange(start, start + length).expand(n, -1)
        if self.fault == "counts padding":
            position_ids = torch.arange(length).expand(n, -1)
        own = self.words(input_ids) + self.places(position_ids)
        seen = own[:, None]
        if past_key_values is not None and self.fault != "forgets":
            seen, _ = past_key_values.update(seen, seen, 0)
        seen = seen[:, 0]
        total = seen.shape[1]
        visible = torch.ones(length, total, dtype=torch.bool)
        if self.fault != "looks ahead":
            visible = visible.tril(total - length)
        visible = visible.expand(n, -1, -1)
        if attention_mask is not None and self.fault != "reads padding":
            visible = visible & attention_mask.bool()[:, None, -total:]
        if self.fault == "draws":
            own = torch.nn.functional.dropout(own, training=True)
        share = visible.to(own.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        return CausalLMOutputWithPast(logits=self.head((own + share @ seen)[:, -logits_to_keep:]))


def invented(fault: str | None = None, dtype: torch.dtype = torch.float32) -> Invented:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Invented(InventedConfig(fault=fault, **SPECIAL)).to(dtype)


def all_weights(model: PreTrainedModel) -> Policy:
    return Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=None))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sound_class_that_nobody_has_heard_of_is_taken(dtype):
    policy = all_weights(invented(dtype=dtype))

    assert policy.stop_ids.tolist() == [0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("draws", "it says something else each time"),
        ("forgets", "it does not remember what it has read"),
        ("looks ahead", "what it says of a token depends on those after it"),
        ("reads padding", "left padding changes what it says"),
        ("counts padding", "left padding changes what it says"),
        ("starts at three", "its tokens are not at the positions where it expects them"),
    ],
)
def test_an_unsound_class_is_refused_for_what_is_wrong_with_it(fault, reason, dtype):
    with pytest.raises(ModelError) as refusal:
        all_weights(invented(fault, dtype))

    said = str(refusal.value)
    assert said.startswith("model '' (Invented) cannot be trained: ")
    assert reason in said
    gap, allowed = map(float, re.findall(r"differ by (\S+) nats, and (\S+) is allowed\)", said)[0])
    assert gap > 1.5 * allowed
    assert said.endswith("; choose another language model")


def test_what_its_own_code_raises_is_a_refusal_too():
    with pytest.raises(
        ModelError, match=r"Invented\) cannot be trained: .* fails with KeyError: .*nobody keeps"
    ):
        all_weights(invented("fails"))


def test_numbers_that_are_none_are_refused():
    model = invented()
    model.head.weight.data[3] = torch.nan

    with pytest.raises(ModelError, match=r"Invented\) cannot be trained: what it says is not finite; choose"):
        all_weights(model)


def test_no_room_on_the_device_is_nobodys_fault(monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Policy, "evaluate", no_room)

    with pytest.raises(torch.OutOfMemoryError):
        tiny_policy()


@pytest.mark.parametrize("fault", ["forgets", "looks ahead", "reads padding"])
def test_of_a_model_that_says_nearly_the_same_of_everything_less_is_allowed(fault):
    model = invented(fault)
    model.head.weight.data.mul_(1e-3)
    model.head.bias.data.mul_(1e-2)

    with pytest.raises(ModelError) as refusal:
        all_weights(model)

    gap, allowed = map(
        float, re.findall(r"differ by (\S+) nats, and (\S+) is allowed", str(refusal.value))[0]
    )
    assert allowed < gap < TOLERANCES[torch.float32].most


def test_the_bound_grows_with_effect_and_spread_up_to_an_end():
    tolerance = Tolerance(most=0.5, share=0.25, rounding=0.125)

    bounds = [tolerance.of(effect, spread) for effect, spread in ((1, 0), (1, 1), (1, 3), (4, 0), (0, 5))]

    assert bounds == [0.25, 0.25, 0.375, 0.5, 0.5]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: MambaForCausalLM(MambaConfig(hidden_size=16, state_size=4, **SMALL)), "does not remember"),
        (
            lambda: BartForCausalLM(
                BartConfig(d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, init_std=0.3,
                           max_position_embeddings=32, is_decoder=True, is_encoder_decoder=False, **SPECIAL)
            ),
            "left padding changes",
        ),
        (
            lambda: BertLMHeadModel(
                BertConfig(hidden_size=16, num_attention_heads=2, intermediate_size=16, is_decoder=False, **SMALL)
            ),
            "depends on those after it",
        ),
    ],
    ids=["a state instead of a cache", "positions of columns", "bidirectional"],
)  # fmt: skip
def test_models_of_the_library_that_are_none_to_train_are_refused(model, reason):
    with pytest.raises(ModelError, match=reason):
        Policy(model(), tiny_tokenizer(), ModelConfig(lora_rank=2))


def test_a_model_that_waits_for_another_part_is_refused():
    config = AutoConfig.for_model(
        "whisper", d_model=16, encoder_layers=1, decoder_layers=1, decoder_attention_heads=2, encoder_attention_heads=2,
        decoder_ffn_dim=16, encoder_ffn_dim=16, max_target_positions=32, decoder_start_token_id=2, **SPECIAL,
    )  # fmt: skip

    with pytest.raises(ModelError, match="WhisperForCausalLM"):
        Policy(WhisperForCausalLM(config), tiny_tokenizer(), ModelConfig(lora_rank=2))


def test_the_folder_is_named(tmp_path):
    MambaForCausalLM(MambaConfig(hidden_size=16, state_size=4, **SMALL)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=rf"model '{tmp_path}' \(MambaForCausalLM\) cannot be trained"):
        load_policy(ModelConfig(name=str(tmp_path)), device=torch.device("cpu"))


@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_sound_family_is_taken_in_every_format(family, lora_rank):
    for dtype in DTYPES:
        Policy(tiny_model(family).to(dtype), tiny_tokenizer(), ModelConfig(lora_rank=lora_rank))
    if lora_rank is None:
        Policy(tiny_model(family), tiny_tokenizer(), ModelConfig(lora_rank=None), dtype=torch.bfloat16)


def test_prompts_are_of_ordinary_tokens_that_both_know():
    tokenizer = tiny_tokenizer()

    long, short = two_prompts(tokenizer, n_known=9)

    assert (len(long), len(short)) == (LONG, SHORT)
    assert {*long, *short} <= set(range(2, 9))  # 0 and 1 are special, as 15 is
    assert len({*long, *short}) == 7


def test_a_tokenizer_of_special_tokens_alone_has_prompts_all_the_same():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(list(VOCABULARY), special_tokens=True)

    long, short = two_prompts(tokenizer, n_known=16)

    assert {*long, *short} <= set(range(16))


def test_an_untrained_policy_has_to_be_its_reference():
    said, mask = torch.tensor([[-1.0, -2.0, torch.nan]]), torch.tensor([[True, True, False]])
    tolerance = Tolerance(most=0.1, share=0.1, rounding=1.0)

    require_reference(said, said + 0.009, mask, tolerance)
    with pytest.raises(ModelError, match=r"untrained.* 0\.011 nats .*0\.01 is allowed.*choose another"):
        require_reference(said, said + 0.011, mask, tolerance)


@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_model_found_out_by_the_first_rollout_stops_the_program(lora_rank, monkeypatch):
    """What the guard did not see is no trial's result: the first KL must be 0."""
    policy = tiny_policy(lora_rank=lora_rank)
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    reference = Policy.reference
    monkeypatch.setattr(Policy, "reference", lambda *given, **how: reference(*given, **how) - 0.01)
    trainer.start(0, small_config(), seed=0)

    with pytest.raises(ModelError, match=r"still untrained.* 0\.01 nats per token"):
        trainer.step()


@pytest.mark.parametrize("lora_rank", [4, None])
def test_a_policy_that_has_moved_need_not_be_its_reference(lora_rank):
    policy = tiny_policy(lora_rank=lora_rank)
    trainer = PPOTrainer(policy, make_toy_task(WordReward(LIKES)), small_config())
    trainer.start(0, small_config(), seed=0)
    assert policy.is_reference(0)

    first, second = trainer.step()[0], trainer.step()[0]

    assert not policy.is_reference(0)
    assert abs(first["objective/kl_per_sequence"]) < 1e-5 < second["objective/kl_per_sequence"]
    policy.reset(0, torch.Generator())
    assert policy.is_reference(0)


def gemma3() -> PreTrainedModel:
    text = {
        **SPECIAL, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "intermediate_size": 24, "max_position_embeddings": 48, "initializer_range": 0.2,
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return AutoModelForCausalLM.from_config(config)


def test_parts_that_no_text_passes_through_get_no_adapters():
    policy = Policy(gemma3(), tiny_tokenizer(), ModelConfig(lora_rank=2))

    assert len(policy.adapters.layers) == 14  # seven in each of two layers of the language model
    assert not [name for name in policy.adapters.layers if "vision" in name]
    assert policy.layout.room_for_prompts(0) == 48


class Chosen(nn.Module):
    """Experts of which a token passes through one; and a part that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 8)) for _ in range(4))
        self.unused = nn.Sequential(nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.experts[1](x)


def test_an_expert_that_was_not_called_has_its_adapter(monkeypatch):
    model = invented()
    model.mixture = Chosen()
    forward = Invented.forward

    @functools.wraps(forward)
    def with_mixture(self: Invented, *given: object, **how: object) -> CausalLMOutputWithPast:
        self.mixture(torch.zeros(1, 8))
        return forward(self, *given, **how)

    monkeypatch.setattr(Invented, "forward", with_mixture)

    policy = Policy(model, tiny_tokenizer(), ModelConfig(lora_rank=2))

    assert set(policy.adapters.layers) == {f"mixture.experts.{i}.0" for i in range(4)}
