"""What is known of a training before any weight is read, and that it is what the training itself would say."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

from ppo_tune.config.run import TrainConfig
from ppo_tune.data.prompts import split_of
from ppo_tune.errors import ConfigError, DataError, ModelError, PPOTuneError
from ppo_tune.models.loading import judge_skeleton
from ppo_tune.rewards.preference import PreferenceReward
from ppo_tune.trainer.assembly import assemble, evaluate_model
from ppo_tune.trainer.checks import Lengths, check_run
from tests.conftest import VOCABULARY, WORDS, save_tiny_model, tiny_tokenizer

TEXTS = [" ".join(pair) for pair in itertools.product(WORDS[:8], repeat=2)]
"""64 prompts of two tokens each."""

CHAT = "{% for m in messages %}b {{ m.content }} {% endfor %}{% if add_generation_prompt %}c{% endif %}"

Make = Callable[..., TrainConfig]


def classifier(folder: Path, *, labels: int = 1, context: int = 32, chat_template: str | None = None) -> str:
    """A reward model's folder."""
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": context, "vocab_size": len(VOCABULARY)}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model("gpt2", num_labels=labels, **sizes, **special)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A training of a tiny model whose context is 32 tokens; all that it names lies in the current folder."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("lm"))
    Path("score.py").write_text(
        "def score(prompts, responses, **columns):\n    return [0.0] * len(responses)\n"
        "def narrow(prompts, responses, tone):\n    return [0.0] * len(responses)\n",
        encoding="utf-8",
    )

    def write(
        *texts: str, weights: bool = True, model: dict[str, Any] | None = None, **task: Any
    ) -> TrainConfig:
        rows = (json.dumps({"prompt": text}) for text in (*TEXTS, *texts))
        Path("p.jsonl").write_text("\n".join(rows), encoding="utf-8")
        if not weights:
            Path("lm/model.safetensors").unlink()
        reward = {"name": "rule", "include": {"a": 1.0}}
        return TrainConfig.model_validate({
            "task": {"name": "dataset", "path": "p.jsonl", "reward": reward, **task},
            "model": {"name": "lm", **(model or {})},
            "ppo": {"rollout_size": 8, "batch_size": 8, "max_new_tokens": 4},
        })  # fmt: skip

    return write


def said(config: TrainConfig) -> str:
    with pytest.raises(PPOTuneError) as caught:
        check_run(config)
    return str(caught.value)


def test_lengths_are_counted_in_the_models_tokens_and_no_weight_is_read(make: Make) -> None:
    long = " ".join("a" * 9)

    facts = check_run(make(long, weights=False))

    assert facts.lengths == Lengths(median=2, longest=9, room=28)
    assert facts.of_model == facts.of_scorers == ()


@pytest.mark.parametrize(("too_long", "longest", "dropped", "cut"), [("drop", 2, 1, 0), ("cut", 28, 0, 1)])
def test_what_becomes_of_long_prompts_is_counted_and_noted(
    make: Make, too_long: str, longest: int, dropped: int, cut: int
) -> None:
    long = " ".join("a" * 40)

    facts = check_run(make(long, too_long=too_long))

    assert facts.lengths == Lengths(median=2, longest=longest, room=28, dropped=dropped, cut=cut)
    assert sum(facts.kept.values()) == len(TEXTS) + 1 - dropped
    assert len(facts.of_model) == 1
    assert f"1 of {sum(split_of(t) == split_of(long) for t in (*TEXTS, long))} " in facts.of_model[0]


LONG = " ".join("a" * 40)
MISTAKES: dict[str, tuple[tuple[str, ...], dict[str, Any], type[PPOTuneError], str]] = {
    "a prompt too long": (
        (LONG,), {}, DataError,
        "p.jsonl:65: `tokens <= 28`, the model's context less max_new_tokens, must hold for a prompt, but got 40; "
        "shorten it, lower max_new_tokens, or take too_long: drop or cut",
    ),
    "no chat template": (
        (), {"chat": True}, ModelError,
        "task.chat: the tokenizer of 'lm' has no chat template; save one with it, or write the turns yourself in a "
        "`template`",
    ),
    "a stop that no token writes": (
        (), {"stop": ["zz"]}, ConfigError,
        "task.stop: each must be a token of the model's tokenizer or a text that it can write, but 'zz' becomes "
        "'<unk>'",
    ),
    "no such model": (
        (), {"reward": {"name": "preference", "model": "nowhere/at-all"}}, ModelError,
        "reward model 'nowhere/at-all' cannot be loaded",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "task", "kind", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_without_weights_in_the_words_of_the_run(
    make: Make, texts: tuple[str, ...], task: dict[str, Any], kind: type[PPOTuneError], sentence: str
) -> None:
    config = make(*texts, **task)
    with pytest.raises(kind) as late:
        assemble(config)

    with pytest.raises(kind) as early:
        check_run(make(*texts, weights=False, **task))

    assert str(early.value) == str(late.value)
    assert str(early.value).startswith(sentence)


def test_an_encoder_says_what_it_can_read_and_lowering_max_new_tokens_is_no_way_out(make: Make) -> None:
    save_tiny_model(Path("bart"), "bart")

    assert said(make(LONG, model={"name": "bart"})).startswith(
        "p.jsonl:65: `tokens <= 32`, what the encoder can read, must hold for a prompt, but got 40; shorten it, or "
        "take too_long: drop or cut"
    )
    (note,) = check_run(make(LONG, model={"name": "bart"}, too_long="cut")).of_model
    assert note.endswith("have more than 32 tokens, what the encoder can read: 1 lost their beginning")


def test_a_t5_has_no_limit(make: Make) -> None:
    save_tiny_model(Path("t5"), "t5")

    facts = check_run(make(LONG, model={"name": "t5"}))

    assert facts.lengths == Lengths(median=2, longest=40, room=None)


def test_a_tokenizer_of_another_model_is_told_by_the_token_that_ends_a_text(make: Make) -> None:
    config = make()
    tiny_tokenizer(eos_token="m").save_pretrained("lm")

    told = (
        "the tokenizer of 'lm' ends a text by 'm', number 14, and its generation_config.json or config.json by number "
        "0: if they are of two models, no text is read as it was learned; save the tokenizer that the model was "
        "trained with"
    )
    assert check_run(config).of_model == (told,)
    assert told in assemble(config).notes


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_what_scores_responses_is_told_whether_they_are_texts_by_themselves(make: Make, family: str) -> None:
    save_tiny_model(Path("policy"), family)
    judge = {"name": "preference", "model": classifier(Path("judge"))}

    task = assemble(make(model={"name": "policy"}, reward=judge, judges={"other": judge})).task

    assert isinstance(task.reward, PreferenceReward)
    assert isinstance(task.judges["other"], PreferenceReward)
    assert task.reward.reading.text("a?", "b") == ("a?b" if family == "gpt2" else "a? b")
    assert task.judges["other"].reading.text("a?", "b") == task.reward.reading.text("a?", "b")


def test_a_model_is_not_loaded_to_be_evaluated_where_references_are_missing(make: Make) -> None:
    config = make(weights=False, reward={"name": "reference"})

    with pytest.raises(PPOTuneError) as refused:
        evaluate_model("lm", config, split="heldout")

    n = sum(split_of(text) == "heldout" for text in TEXTS)
    first = 1 + next(i for i, text in enumerate(TEXTS) if split_of(text) == "heldout")
    assert str(refused.value) == (
        f"p.jsonl:{first}: task.reward: reward chrf needs reference texts, but {n} prompts have none, this one first; "
        "name their column with task.reference"
    )


def test_how_many_prompts_are_too_long_is_told(make: Make) -> None:
    train = [text for text in (f"{LONG} {word}" for word in WORDS) if split_of(text) == "train"]

    words = said(make(*train))

    n = sum(split_of(text) == "train" for text in TEXTS) + len(train)
    assert words.endswith(f"or take too_long: drop or cut; {len(train)} of {n} train prompts are so")


def test_a_model_without_a_tokenizer_is_told(make: Make) -> None:
    config = make()
    for file in Path("lm").glob("tokenizer*"):
        file.unlink()

    assert said(config).startswith("model folder 'lm' has no usable tokenizer: ")


def test_a_token_that_the_model_has_no_row_for_is_told(make: Make) -> None:
    config = make("<pad>")
    shutil.rmtree("lm")
    save_tiny_model(Path("lm"), vocab_size=len(VOCABULARY) - 1)

    assert said(config).startswith(
        "model 'lm' (GPT2LMHeadModel): a text holds '<pad>', which its tokenizer knows as number 15, but its input "
        "embedding ends at 14; "
    )


def test_adapters_want_linear_layers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make()
    monkeypatch.setattr("ppo_tune.models.adapters.is_linear", lambda _: False)

    assert said(config) == (
        "model.lora_rank: adapters want linear layers, and this model has none that they can be added to; train all "
        "weights by lora_rank: null"
    )
    assert check_run(make(model={"lora_rank": None})).lengths is not None


def test_a_model_without_a_stop_token_is_noted(make: Make) -> None:
    config = make()
    tiny_tokenizer(eos_token=None).save_pretrained("lm")
    facts = json.loads(Path("lm/config.json").read_text(encoding="utf-8"))
    Path("lm/config.json").write_text(json.dumps({**facts, "eos_token_id": None}), encoding="utf-8")
    Path("lm/generation_config.json").unlink()

    (note,) = check_run(config).of_model

    assert note == (
        "the tokenizer of 'lm' has no end-of-sequence token and no stop is named: nothing ends a response but "
        "max_new_tokens"
    )


def test_what_is_left_must_be_enough_for_a_rollout(make: Make) -> None:
    config = make(too_long="drop")
    tight = config.model_copy(
        update={"ppo": config.ppo.model_copy(update={"rollout_size": 60, "batch_size": 60})}
    )
    n_train = sum(split_of(text) == "train" for text in TEXTS)

    assert said(tight) == (
        f"task dataset: `prompts >= rollout_size` must hold, but got {n_train} training prompts and rollout_size 60; "
        "lower it or add rows"
    )


def test_a_judge_with_two_labels_is_told(make: Make, tmp_path: Path) -> None:
    judge = classifier(tmp_path / "two", labels=2)

    assert said(make(reward={"name": "preference", "model": judge})) == (
        f"reward model '{judge}' has 2 labels, LABEL_0, LABEL_1; say by `label` which of them is to be "
        "reached"
    )


def test_a_judge_whose_weights_are_not_all_there_is_told(make: Make, tmp_path: Path) -> None:
    """A language model has no head that scores; no weight is read to see that."""
    judge, empty = tmp_path / "lm", classifier(tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()

    assert said(make(gold={"name": "preference", "model": str(judge)})) == (
        f"reward model '{judge}' cannot be loaded: it lacks weights (score.weight, ...), for it was saved from another "
        "kind of model; save it with AutoModelForSequenceClassification.save_pretrained"
    )
    assert said(make(gold={"name": "preference", "model": empty})).startswith(
        f"reward model '{empty}' cannot be loaded: Error no file named model.safetensors"
    )
    assert {weight.device.type for weight in judge_skeleton(classifier(tmp_path / "whole")).parameters()} == {
        "meta"
    }


def test_a_judge_that_cannot_read_the_prompts_is_told(make: Make, tmp_path: Path) -> None:
    judge = classifier(
        tmp_path / "chatting", chat_template="{% for m in messages %}<eos>{{ m.content }}{% endfor %}"
    )

    words = said(make("a <eos> b", gold={"name": "preference", "model": judge}))

    assert words.startswith(
        f"task.gold: reward model {judge} reads a prompt as a user's turn, but '<eos>', which its "
    )
    assert words.endswith("task.chat: true, or set the reward's template to '{prompt}{response}'")


def test_a_judge_with_a_short_context_is_noted(make: Make, tmp_path: Path) -> None:
    judge = classifier(
        tmp_path / "short", context=8
    )  # which holds prompts of 4 tokens beside a response of 4
    config = make("a b c d", "a b c d e", reward={"name": "preference", "model": judge})

    (note,) = check_run(config).of_scorers

    assert note == (
        f"task.reward: reward model '{judge}' reads 8 tokens at most, and 1 of 66 prompts are longer beside a response "
        "of 4: it does not read their beginning"
    )


def test_a_function_that_takes_other_arguments_is_told(make: Make) -> None:
    config = make(reward={"name": "python", "function": "score.py:narrow"})

    assert said(config) == (
        "task.reward.function: score.py:narrow must take prompts, responses, prompt, references by their names, but: "
        "missing a required argument: 'tone'; write it as def score(prompts, responses, **columns)"
    )
    assert check_run(make(reward={"name": "python", "function": "score.py:score"})).of_scorers == ()


def test_a_measure_of_references_wants_some(make: Make) -> None:
    words = said(make(judges={"similar": {"name": "reference"}}))

    assert words == (
        f"p.jsonl:{_first_read()}: task.judges.similar: reward chrf needs reference texts, but 64 prompts have none, "
        "this one first; name their column with task.reference"
    )


def _first_read() -> int:
    return 1 + next(i for i, text in enumerate(TEXTS) if split_of(text) == "train")


def test_everything_is_told_at_once(make: Make, tmp_path: Path) -> None:
    judge = classifier(tmp_path / "two", labels=2)
    config = make(
        LONG,
        stop=["zz"],
        reward={"name": "python", "function": "score.py:narrow"},
        objective={"name": "preference", "model": judge},
    )

    lines = said(config).splitlines()

    begins = ("task.stop: ", "p.jsonl:65: ", "task.reward.function: ", "reward model ")
    assert [line.startswith(begin) for line, begin in zip(lines, begins, strict=True)] == [True] * 4


def test_the_embedded_task_has_nothing_to_look_at() -> None:
    facts = check_run(TrainConfig.model_validate({"task": {"name": "support"}}))

    assert facts.lengths is None
    assert facts.of_model == facts.of_scorers == ()
