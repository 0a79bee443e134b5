# mypy: ignore-errors
"""What ends a response of a task: the end of a turn, and the tokens that the user names."""

import json
from pathlib import Path

import pytest
import torch

from ppo_tune.config.model import ModelConfig
from ppo_tune.config.ppo import PPOConfig
from ppo_tune.config.rewards import RuleRewardConfig
from ppo_tune.config.run import TrainConfig
from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig
from ppo_tune.data.user_files import check_user_files
from ppo_tune.errors import ConfigError, ModelError
from ppo_tune.models import Policy, decode_responses
from ppo_tune.models.chat import prompt_ids
from ppo_tune.models.stops import NONE, Stops, enders, first_stop
from ppo_tune.tasks import Prompt, PromptSet, TaskPrompts, notes_on_ends, stops_of
from ppo_tune.trainer.assembly import assemble, evaluate_model
from tests.conftest import prompts_for, tiny_model, uniforms_for
from tests.tokenizers_of import CHATML, KINDS

TURN_END = "<|im_end|>"


def task(**settings) -> DatasetTaskConfig:
    reward = RuleRewardConfig(name="rule", include={"sure": 1.0})
    return DatasetTaskConfig(name="dataset", **{"path": "prompts.jsonl", "reward": reward, **settings})


def chatting():
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = CHATML
    return tokenizer


def names(config, tokenizer) -> list[str]:
    return [tokenizer.convert_ids_to_tokens(i) for i in stops_of(config, tokenizer).ids]


def test_a_chat_ends_where_the_template_ends_an_assistants_turn():
    assert names(task(chat=True), chatting()) == [TURN_END]


def test_without_a_chat_a_template_ends_nothing():
    assert names(task(), chatting()) == []


def test_the_embedded_task_names_no_stop():
    assert not stops_of(EmbeddedTaskConfig(name="support"), chatting())


@pytest.mark.parametrize(
    ("kind", "stop", "expected"),
    [
        pytest.param("byte level", "<|im_end|>", {"<|im_end|>"}, id="by name"),
        pytest.param("byte level", "\n", {"Ċ"}, id="by text"),
        pytest.param("metaspace", ".", {"▁."}, id="by the token that the text becomes"),
        pytest.param("metaspace", "▁ok", {"▁ok"}, id="by a name that is not its text"),
    ],
)
def test_a_stop_is_named_by_its_token_or_by_its_text(kind, stop, expected):
    assert expected <= set(names(task(stop=[stop]), KINDS[kind]()))


def test_stops_and_the_end_of_a_turn_add_up():
    assert set(names(task(chat=True, stop=["\n", "<pad>"]), chatting())) == {TURN_END, "Ċ", "<pad>"}


def test_a_stop_of_several_tokens_is_a_text():
    stops = stops_of(task(stop=["\n\nuser zz", "☃☃", "\n"]), KINDS["byte level"]())

    assert stops.texts == ("\n\nuser zz", "☃☃")
    assert len(stops.ids) == 1


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        pytest.param("word pieces", "\n\nuser zz", id="white space that the tokenizer does not keep"),
        pytest.param("metaspace", "☃☃", id="letters that it does not know"),
        pytest.param("byte level", "<|im_end|>\n", id="a token that is no text"),
    ],
)
def test_a_stop_that_no_response_could_hold_is_refused_in_one_sentence(kind, stop):
    with pytest.raises(ConfigError) as caught:
        stops_of(task(stop=[stop]), KINDS[kind]())

    message = str(caught.value)
    assert message.startswith(
        f"task.stop: each must be a token of the model's tokenizer or a text that it can write, but {stop!r} becomes "
    )
    assert "\n" not in message


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_stops_as_soon_as_a_text_stands_there_and_the_judge_reads_up_to_it(kind, places):
    """However the text is written: by the same random numbers, what is said before it is what was said without it."""
    tokenizer = KINDS[kind]()
    policy = Policy(
        tiny_model("gpt2", vocab_size=len(tokenizer)), tokenizer, ModelConfig(lora_rank=1), places=places
    )
    prompts, uniforms, every = (
        prompts_for([[40, 41]] * 128, places),
        uniforms_for(places, 128, 12),
        range(places),
    )
    free, _ = policy.generate(prompts, uniforms, temperature=1.0, places=every)
    stops = ("er", "re", "a l")

    policy.stop_also(Stops(texts=stops))
    stopped, said = policy.generate(prompts, uniforms, temperature=1.0, places=every)

    hits = 0
    for place in every:
        for row in range(128):
            one, was = stopped[place, row : row + 1], free[place, row : row + 1]
            (before,), (text,) = decode_responses(tokenizer, was), policy.decode(one)
            at, n = first_stop(before, stops), int(one.response_mask.sum())
            assert torch.equal(one.response_ids[0, :n], was.response_ids[0, :n])
            assert text == before[:at]
            if at is not None:
                hits += 1
                assert one.ended.all()
                (shorter,) = decode_responses(tokenizer, one)  # without its last token
                assert first_stop(shorter, stops) is None
    assert hits > 2
    assert not said.logprobs[~stopped.response_mask].any()


def test_a_last_letter_of_several_bytes_may_end_a_text():
    tokenizer = KINDS["byte level"]()

    ids = enders(tokenizer, ["où"])

    assert {tokenizer("è", add_special_tokens=False)["input_ids"][-1]} <= {*ids}  # a part of some letter
    assert tokenizer("a", add_special_tokens=False)["input_ids"][0] not in ids


@pytest.mark.parametrize(
    ("text", "stops", "at"),
    [("a b c", ("c", "b"), 2), ("a b", ("x",), None), ("", ("x",), None), ("bb", ("bb", "b"), 0)],
)
def test_the_first_of_some_texts_ends(text, stops, at):
    assert first_stop(text, stops) == at


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model whose end of a turn is not its end of a sequence, and its prompts."""
    monkeypatch.chdir(tmp_path)
    rows = (json.dumps({"prompt": f"ok {i}"}) for i in range(60))
    Path("prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    tokenizer = chatting()
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "n_positions": 64}
    tiny_model("gpt2", **sizes).save_pretrained("model")
    tokenizer.save_pretrained("model")
    return tmp_path


def run(**settings) -> TrainConfig:
    ppo = PPOConfig(rollout_size=8, batch_size=8, max_new_tokens=4)
    return TrainConfig(
        task=task(heldout_prompts=2, **settings), model=ModelConfig(name="model", lora_rank=1), ppo=ppo
    )


def test_a_workbench_ends_responses_at_them(folder):
    policy = assemble(run(chat=True, stop=["\n"])).policy

    stops = policy.tokenizer.convert_ids_to_tokens(policy.stop_ids.tolist())

    assert sorted(stops) == sorted(["<eos>", TURN_END, "Ċ"])


def test_an_evaluation_of_another_model_ends_responses_at_them(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(Policy, "stop_also", lambda _, stops: seen.append(stops))

    evaluate_model("model", run(chat=True))

    assert seen == [Stops((chatting().convert_tokens_to_ids(TURN_END),))]


@pytest.mark.parametrize(
    "judged", [lambda: assemble(run(chat=True)), lambda: evaluate_model("model", run(chat=True))]
)
def test_a_missing_template_is_told_before_any_model_is_loaded(judged, folder, monkeypatch):
    plain = KINDS["byte level"]()
    plain.chat_template = None
    Path("model", "chat_template.jinja").unlink(missing_ok=True)
    plain.save_pretrained("model")
    monkeypatch.setattr(
        "ppo_tune.trainer.assembly.load_policy", lambda *_, **__: pytest.fail("a model was loaded")
    )

    with pytest.raises(ModelError, match=r"^task\.chat: the tokenizer of 'model' has no chat template; "):
        judged()


def test_a_policy_stops_at_a_tasks_tokens_and_the_judge_does_not_read_them():
    tokenizer = KINDS["byte level"]()
    policy = Policy(tiny_model("gpt2", vocab_size=len(tokenizer)), tokenizer, ModelConfig(lora_rank=1))
    prompts, uniforms = prompts_for([[40, 41]] * 64), uniforms_for(1, 64, 4)
    before, _ = policy.generate(prompts, uniforms, temperature=1.0, places=[0])
    stop = int(before.response_ids[0, 0, 1])

    policy.stop_also(Stops((stop,)))
    after, _ = policy.generate(prompts, uniforms, temperature=1.0, places=[0])

    first = after[0, :1]
    assert int(first.response_mask.sum()) == 2
    assert first.ended.all()
    assert decode_responses(tokenizer, first) == [tokenizer.decode([int(before.response_ids[0, 0, 0])])]
    assert torch.equal(after.response_ids[..., :1], before.response_ids[..., :1])


@pytest.mark.parametrize("stop", [[], ["ok"]], ids=["nothing ends a response", "the user's own token does"])
def test_a_policy_that_nothing_stops_is_noted(stop, folder):
    tokenizer = KINDS["byte level"]()
    tokenizer.eos_token = None
    tiny_model("gpt2", vocab_size=len(tokenizer), n_positions=64, eos_token_id=None).save_pretrained("model")
    tokenizer.save_pretrained("model")

    notes = assemble(run(stop=stop)).notes

    told = (
        "the tokenizer of 'model' has no end-of-sequence token and no stop is named: nothing ends a response but "
        "max_new_tokens"
    )
    assert notes == (() if stop else (told,))


PLAIN_TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "stop", "told"),
    [(PLAIN_TURNS, [], True), (PLAIN_TURNS, ["ok"], False), (CHATML, [], False)],
    ids=["words alone", "and a stop of the user's", "a token"],
)
def test_a_chat_whose_turns_end_by_no_token_is_noted(template, stop, told, folder):
    tokenizer = KINDS["byte level"]()
    tokenizer.chat_template = template
    sizes = {"vocab_size": len(tokenizer), "n_positions": 64, "eos_token_id": tokenizer.eos_token_id}
    tiny_model("gpt2", **sizes).save_pretrained("model")
    tokenizer.save_pretrained("model")

    notes = assemble(run(chat=True, stop=stop)).notes

    assert notes == (
        (
            "task.chat: the chat template of 'model' ends an assistant's turn by no token of its own, so a response "
            "may go on into the user's next turn; name a token or a text that ends one by task.stop",
        )
        if told
        else ()
    )


def test_what_ends_nothing_in_conversations_of_ours_is_mended_by_another_model():
    asked = TaskPrompts("dialogue", {}, chat=True, advice=EmbeddedTaskConfig.advice)

    assert notes_on_ends("model", asked, stop_ids=(), stops=NONE) == [
        "the tokenizer of 'model' has no end-of-sequence token: nothing ends a response but max_new_tokens",
        "task.name: the chat template of 'model' ends an assistant's turn by no token of its own, so a response may go "
        "on into the user's next turn; name a model whose template writes one",
    ]


def test_conversations_of_ours_need_a_chat_model(tokenizer):
    asked_by = EmbeddedTaskConfig.advice.asks_for_chat
    told = (
        "task.name: the tokenizer of 'model' has no chat template; the prompts of this task are conversations, so name "
        "a chat model, or save one with it"
    )
    tokenizer.name_or_path = "model"

    for ask in (
        lambda: stops_of(EmbeddedTaskConfig(name="dialogue"), tokenizer),
        lambda: prompt_ids(tokenizer, ["ok"], chat=True, asked_by=asked_by),
        lambda: PromptSet(
            TaskPrompts("dialogue", {"train": (Prompt("ok"),)}, chat=True, advice=EmbeddedTaskConfig.advice),
            "train", tokenizer, None,
        ),
    ):  # fmt: skip
        with pytest.raises(ModelError) as caught:
            ask()
        assert str(caught.value) == told


@pytest.mark.parametrize("saved", ["as a file", "in the config", "as several", "not at all"])
def test_a_missing_template_is_known_without_loading_anything(saved, folder):
    template = Path("model", "chat_template.jinja")
    config = json.loads(Path("model", "tokenizer_config.json").read_text(encoding="utf-8"))
    if saved != "as a file":
        template.unlink()
    if saved == "in the config":
        config["chat_template"] = CHATML
    if saved == "as several":
        Path("model", "additional_chat_templates").mkdir()
    Path("model", "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

    if saved == "not at all":
        check_user_files(run())
        with pytest.raises(
            ModelError, match=r"^task\.chat: the tokenizer of 'model' has no chat template; save one"
        ):
            check_user_files(run(chat=True))
    else:
        check_user_files(run(chat=True))
