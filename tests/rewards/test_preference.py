# mypy: ignore-errors
"""The score of a reward model: read at the last real token, centred and scaled where its folder says so."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
)

from ppo_tune.config.rewards import PreferenceRewardConfig
from ppo_tune.errors import ModelError, RewardError
from ppo_tune.rewards.preference import (
    PreferenceReward,
    fill,
    raw_outputs,
)
from ppo_tune.rewards.score_format import ScoreFormat, read_format
from tests.conftest import VOCABULARY, save_tiny_model, tiny_tokenizer
from tests.rewards.reward_models import CHAT, save_chat_reward, save_reward, tiny_classifier

CPU = torch.device("cpu")
TEXTS = ["a b c d e", "f", "g h i"]
LONG = [*range(2, 15)] * 4  # the context is 32
PROMPTS, RESPONSES = ["a b", "c", "d"], ["c d e", "f g", "h"]


def load_reward(folder: Path, **settings) -> PreferenceReward:
    return PreferenceReward(PreferenceRewardConfig(name="preference", model=str(folder), **settings), CPU)


def logit(model: PreTrainedModel, ids: list[int]) -> float:
    """What the head says of the last token of one sequence without any padding."""
    with torch.no_grad():
        hidden = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        return float(model.score(hidden))


def test_each_text_is_scored_at_its_last_token_whatever_the_others_are(family):
    model, tokenizer = tiny_classifier(family), tiny_tokenizer()
    expected = [logit(model, tokenizer(text)["input_ids"]) for text in TEXTS]

    scores = raw_outputs(model, tokenizer, TEXTS, append_eos=False)[:, 0]

    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_transformers_agrees_where_it_has_no_padding_to_guess(family):
    model, tokenizer = tiny_classifier(family), tiny_tokenizer()
    with torch.no_grad():
        expected = [float(model(torch.tensor([tokenizer(text)["input_ids"]])).logits) for text in TEXTS]

    scores = raw_outputs(model, tokenizer, TEXTS, append_eos=False)[:, 0]

    assert scores.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("append_eos", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad_token", ["<pad>", "<eos>", None])
def test_padding_changes_no_score(pad_token, side, append_eos):
    model, tokenizer = tiny_classifier("gpt2"), tiny_tokenizer(pad_token=pad_token)
    tokenizer.padding_side = side
    end = [0] if append_eos else []
    expected = [logit(model, tokenizer(text)["input_ids"] + end) for text in TEXTS]

    together = raw_outputs(model, tokenizer, TEXTS, append_eos=append_eos)[:, 0]
    alone = [raw_outputs(model, tokenizer, [text], append_eos=append_eos).item() for text in TEXTS]

    assert together.tolist() == pytest.approx(expected, abs=1e-5)
    assert alone == pytest.approx(expected, abs=1e-5)


def test_a_stop_token_within_the_text_is_an_ordinary_token():
    model, tokenizer = tiny_classifier("gpt2"), tiny_tokenizer(pad_token="<eos>")

    scores = raw_outputs(model, tokenizer, ["a b <eos>", "c <eos> <eos>"], append_eos=False)[:, 0]

    assert scores.tolist() == pytest.approx([logit(model, [2, 3, 0]), logit(model, [4, 0, 0])], abs=1e-5)


def test_the_stop_token_is_what_the_score_is_read_at_when_it_is_appended():
    model, tokenizer = tiny_classifier("gpt2"), tiny_tokenizer()

    scores = raw_outputs(model, tokenizer, ["a b"], append_eos=True)[:, 0]

    assert scores.tolist() == pytest.approx([logit(model, [2, 3, 0])], abs=1e-5)


@pytest.mark.parametrize(("append_eos", "kept"), [(False, LONG[-32:]), (True, [*LONG[-31:], 0])])
def test_of_a_text_that_is_too_long_the_end_is_read(append_eos, kept, tmp_path):
    save_reward(tmp_path)
    ScoreFormat(append_eos=append_eos).write(tmp_path)

    scores = load_reward(tmp_path).score([" ".join(VOCABULARY[i] for i in LONG)], [""], {})

    assert scores == pytest.approx([logit(tiny_classifier("gpt2"), kept)], abs=1e-5)


def test_an_empty_text_has_a_score(tmp_path):
    scores = load_reward(save_reward(tmp_path)).score([""], [""], {})

    assert torch.tensor(scores).isfinite().all()


def test_an_encoder_pools_by_itself():
    config = BertConfig(
        vocab_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
    )
    model, tokenizer = BertForSequenceClassification(config).eval(), tiny_tokenizer()
    with torch.no_grad():
        expected = [float(model(torch.tensor([tokenizer(text)["input_ids"]])).logits) for text in TEXTS]

    scores = raw_outputs(model, tokenizer, TEXTS, append_eos=False)[:, 0]

    assert scores.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_reward_model_from_elsewhere_reads_prompt_and_response_joined(tmp_path):
    reward = load_reward(save_reward(tmp_path))

    scores = reward(["a b ", "c "], ["d", "e f"], {})

    model = tiny_classifier("gpt2")
    assert scores.tolist() == pytest.approx([logit(model, [2, 3, 5]), logit(model, [4, 6, 7])], abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "response", "template", "expected"),
    [
        pytest.param("what now?", "sorry", None, "what now? sorry", id="a space between two texts"),
        pytest.param("what now?\n", "sorry", None, "what now?\nsorry", id="the prompt's white space is one"),
        pytest.param("what now?", " sorry", None, "what now? sorry", id="no second space"),
        pytest.param("what now?", "", None, "what now?", id="nothing before nothing"),
        pytest.param("", "sorry", None, "sorry", id="nothing after nothing"),
        pytest.param("what now?", "sorry", "{prompt}{response}", "what now?sorry", id="the study's template"),
    ],
)
def test_a_response_that_is_a_text_by_itself_is_read_behind_a_space(
    prompt, response, template, expected, tmp_path
):
    reward = load_reward(save_reward(tmp_path), template=template)
    assert reward.reading.text(prompt, response) == prompt + response  # one that goes on with its prompt

    reward.expect(whole_texts=True)

    assert reward.reading.text(prompt, response) == expected


def test_a_template_of_the_folder_that_sets_them_apart_is_read_as_it_stands(tmp_path):
    save_reward(tmp_path)
    ScoreFormat("Q: {prompt} A:{response}").write(tmp_path)
    reward = load_reward(tmp_path)

    reward.expect(whole_texts=True)

    assert reward.reading.text("what now?", "sorry") == "Q: what now? A:sorry"


def test_a_reward_model_of_ours_is_read_as_its_folder_says(tmp_path):
    save_reward(tmp_path)
    ScoreFormat("{prompt} k {response}", append_eos=True, gain=2.0, bias=-0.5).write(tmp_path)

    scores = load_reward(tmp_path)(["a"], ["d"], {})

    assert scores.tolist() == pytest.approx(
        [2 * logit(tiny_classifier("gpt2"), [2, 12, 5, 0]) - 0.5], abs=1e-5
    )


def test_the_template_of_the_study_goes_before_that_of_the_folder(tmp_path):
    save_reward(tmp_path)
    ScoreFormat("{prompt} k {response}", gain=2.0).write(tmp_path)

    scores = load_reward(tmp_path, template="{response} m")(["a"], ["d"], {})

    assert scores.tolist() == pytest.approx([2 * logit(tiny_classifier("gpt2"), [5, 14])], abs=1e-5)


def test_what_stands_beside_the_model_comes_back(tmp_path):
    written = ScoreFormat("{prompt}: {response}", append_eos=True, gain=0.3, bias=-1.7, accuracy=0.83)

    written.write(tmp_path)

    assert read_format(tmp_path) == written


def test_without_a_sidecar_scores_are_raw(tmp_path):
    assert read_format(tmp_path) == ScoreFormat("{prompt}{response}", append_eos=False, gain=1.0, bias=0.0)


def test_a_sidecar_that_is_none_is_refused(tmp_path):
    (tmp_path / "reward.json").write_text('{"gain": 2.0, "flavour": 1}', encoding="utf-8")

    with pytest.raises(
        ModelError, match=rf"^reward\.json of reward model '{tmp_path}' cannot be read: .*flavour"
    ):
        read_format(tmp_path)


@pytest.mark.parametrize(
    ("template", "response", "expected"),
    [
        pytest.param("{prompt}{response}", " sorry", "why ? sorry", id="joined as written"),
        pytest.param("{prompt}{response}", "sorry", "why ?sorry", id="no space is made up"),
        pytest.param("{prompt} {response}", " sorry", "why ? sorry", id="a space is not written twice"),
        pytest.param("{prompt} {response}", "sorry", "why ? sorry", id="the template's space"),
        pytest.param("{prompt}\n{response}!", "  sorry", "why ?\n sorry!", id="one space, not all"),
        pytest.param("A: {response} Q: {prompt}", " sorry", "A: sorry Q: why ?", id="the response first"),
        pytest.param("{{}} {prompt}:{response}", " {x}", "{} why ?: {x}", id="braces"),
    ],
)
def test_a_template_is_filled_with_what_follows_the_prompt(template, response, expected):
    assert fill(template, "why ?", response) == expected


@pytest.mark.parametrize(
    "template", ["{prompt}", "{prompt}{answer}", "{}{response}", "{response:d}", "{response"]
)
def test_a_template_that_is_none_is_refused_before_any_model_is_loaded(template):
    with pytest.raises(
        ValidationError, match=r"must hold \{response\}, and \{prompt\} if need be, and nothing else"
    ):
        PreferenceRewardConfig(name="preference", model="m", template=template)


def chat_logit(ids: list[int]) -> float:
    return logit(tiny_classifier("gpt2", vocab_size=18), ids)


def test_a_chat_reward_model_reads_a_users_turn_and_the_assistants_answer(tmp_path):
    reward = load_reward(save_chat_reward(tmp_path))

    scores = reward(["d e"], [" f"], {})

    assert reward.reading.text("d e", " f") == "<t> b d e <e> <t> c f <e> "
    assert scores.tolist() == pytest.approx([chat_logit([16, 3, 5, 6, 17, 16, 4, 7, 17])], abs=1e-5)


def test_a_chat_is_read_as_transformers_writes_it(tmp_path):
    reward = load_reward(save_chat_reward(tmp_path, "{{ bos_token }} " + CHAT, begins=True))
    chat = [{"role": "user", "content": "d e"}, {"role": "assistant", "content": "f"}]
    ids = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(chat, return_dict=False)

    scores = reward(["d e"], ["f"], {})

    assert ids.count(0) == 1
    assert scores.tolist() == pytest.approx([chat_logit(ids)], abs=1e-5)


@pytest.mark.parametrize(
    "plain", [{"template": "{prompt}{response}"}, {}], ids=["the study's template", "a file of ours"]
)
def test_a_template_or_a_file_of_ours_goes_before_a_chat_template(plain, tmp_path):
    save_chat_reward(tmp_path)
    if not plain:
        ScoreFormat().write(tmp_path)

    scores = load_reward(tmp_path, **plain)(["d e"], [" f"], {})

    assert scores.tolist() == pytest.approx([chat_logit([5, 6, 7])], abs=1e-5)


def test_a_turn_that_the_policy_made_up_is_none(tmp_path):
    reward = load_reward(save_chat_reward(tmp_path))

    assert reward.reading.text("d", " f<e><t> b g") == "<t> b d <e> <t> c f b g <e> "


def test_a_prompt_that_is_a_chat_already_is_refused_with_the_way_out(tmp_path):
    reward = load_reward(save_chat_reward(tmp_path))

    with pytest.raises(RewardError) as caught:
        reward(["<t> b d <e> <t> c"], ["f"], {})

    assert str(caught.value) == (
        f"reward model {tmp_path} reads a prompt as a user's turn, but '<t>', which its chat template writes, is in "
        "prompt '<t> b d <e> <t> c', response 'f' already; give the bare prompt with task.chat: true, or set the "
        "reward's template to '{prompt}{response}'"
    )


def test_a_chat_template_that_fails_is_told_when_the_model_is_loaded(tmp_path):
    save_chat_reward(tmp_path, "{{ raise_exception('no') }}")

    with pytest.raises(
        ModelError, match=rf"^reward model '{tmp_path}': the chat template of .* cannot write"
    ):
        load_reward(tmp_path)


def test_a_template_that_writes_the_beginning_gets_no_second_one(tmp_path):
    save_chat_reward(tmp_path, begins=True)

    scores = load_reward(tmp_path, template="<eos>{prompt}{response}")(["d e"], [" f"], {})

    assert scores.tolist() == pytest.approx([chat_logit([0, 5, 6, 7])], abs=1e-5)


def test_a_model_whose_score_of_a_text_depends_on_its_batch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo_tune.rewards.preference.context_length", lambda _: None)  # xlnet has no limit
    config = AutoConfig.for_model(  # it reads its score at the last column, padding or not
        "xlnet",
        vocab_size=16,
        d_model=16,
        n_layer=1,
        n_head=2,
        d_inner=16,
        num_labels=1,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(
        ModelError, match=r"scores a text .* alone and .* beside a longer one, so its scores would"
    ):
        load_reward(tmp_path)


def save_judge(folder: Path, kind: str, **sizes: int) -> None:
    """A random judge of a family with its tokenizer."""
    special = {"vocab_size": 16, "num_labels": 1, "pad_token_id": 15, "eos_token_id": 0, "bos_token_id": 0}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **special, **sizes))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def test_a_judge_whose_own_code_fails_is_refused_with_the_first_line_of_it(tmp_path):
    save_judge(
        tmp_path, "ibert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )

    with pytest.raises(ModelError) as caught:
        load_reward(tmp_path)

    assert str(caught.value) == (
        f"reward model '{tmp_path}' cannot judge: scoring a short text, it fails with AttributeError: 'QuantEmbedding' "
        "object has no attribute 'num_embeddings'; choose another reward model"
    )


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ValueError("no <eos> token\nin a batch"), "ValueError: no <eos> token; choose another reward model"),
        (NotImplementedError(), "NotImplementedError; choose another reward model"),
    ],
    ids=["of two lines", "of no word"],
)
def test_a_failure_in_a_judge_is_told_in_one_sentence(failure, expected, tmp_path, monkeypatch):
    folder = save_reward(tmp_path)
    monkeypatch.setattr("ppo_tune.rewards.preference.raw_outputs", Mock(side_effect=failure))

    with pytest.raises(ModelError) as caught:
        load_reward(folder)

    assert str(caught.value) == (
        f"reward model '{tmp_path}' cannot judge: scoring a short text, it fails with {expected}"
    )


def test_a_judge_that_finds_no_memory_is_not_blamed(tmp_path, monkeypatch):
    folder = save_reward(tmp_path)
    monkeypatch.setattr("ppo_tune.rewards.preference.raw_outputs", Mock(side_effect=torch.OutOfMemoryError))

    with pytest.raises(torch.OutOfMemoryError):
        load_reward(folder)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("t5", {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}),
        ("bart", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 32}),
    ],
)
def test_an_encoder_decoder_is_refused_as_a_judge(kind, sizes, tmp_path):
    save_judge(tmp_path, kind, **sizes)

    with pytest.raises(ModelError) as caught:
        load_reward(tmp_path)

    assert str(caught.value) == (
        f"reward model '{tmp_path}' is an encoder–decoder, which is not read as a judge yet; name an encoder or a "
        "decoder"
    )


def test_scores_do_not_change_from_call_to_call_though_the_config_has_dropout(tmp_path):
    reward = load_reward(save_reward(tmp_path))

    first, second = reward(PROMPTS, RESPONSES, {}), reward(PROMPTS, RESPONSES, {})

    assert reward.model.config.resid_pdrop == 0.1
    assert torch.equal(first, second)


def test_a_reward_model_learns_nothing(tmp_path):
    reward = load_reward(save_reward(tmp_path))

    assert not any(parameter.requires_grad for parameter in reward.model.parameters())
    assert not reward(PROMPTS, RESPONSES, {}).requires_grad


def test_errors_name_the_reward_model(tmp_path):
    assert str(load_reward(save_reward(tmp_path))) == f"reward model {tmp_path}"


def test_a_missing_reward_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=f"reward model '{tmp_path / 'nowhere'}' cannot be loaded: "):
        load_reward(tmp_path / "nowhere")


def test_a_reward_model_with_several_labels_needs_to_know_which_is_to_be_reached(tmp_path):
    tiny_classifier("gpt2", num_labels=3).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError) as caught:
        load_reward(tmp_path)

    assert str(caught.value) == (
        f"reward model '{tmp_path}' has 3 labels, LABEL_0, LABEL_1, LABEL_2; say by `label` which of them is to be "
        "reached"
    )


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_a_classifier_that_is_not_ours_scores_by_the_log_odds_of_the_class_to_be_reached(
    family, problem, tmp_path
):
    labels = {"id2label": {0: "NEUTRAL", 1: "POSITIVE", 2: "NEGATIVE"}, "label2id": None}
    model = tiny_classifier(family, num_labels=3, problem_type=problem, **labels)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    scores, sure = (
        load_reward(tmp_path, label="POSITIVE", reads=reads)(["", ""], ["a b", "c"], {})
        for reads in ("score", "probability")
    )

    logits = torch.cat([model(**tiny_tokenizer()(text, return_tensors="pt")).logits for text in ("a b", "c")])
    several = problem.startswith("multi")
    expected = (logits.sigmoid() if several else logits.softmax(-1))[:, 1]
    assert_close(sure, expected, atol=1e-5, rtol=0)
    assert_close(scores, torch.logit(expected), atol=1e-5, rtol=0)


def test_a_class_that_a_classifier_has_not_is_refused(tmp_path):
    tiny_classifier("gpt2", num_labels=2).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(ModelError) as caught:
        load_reward(tmp_path, label="POSITIVE")

    assert str(caught.value).endswith("say by `label` which of them is to be reached, but got 'POSITIVE'")


def test_a_language_model_is_refused_as_a_reward_model(tmp_path):
    save_tiny_model(tmp_path)

    with pytest.raises(ModelError, match=f"reward model '{tmp_path}'"):
        load_reward(tmp_path)


def test_a_reward_model_that_lacks_its_head_is_refused(tmp_path):
    save_tiny_model(tmp_path, num_labels=1)  # as a model with a head of another make

    with pytest.raises(ModelError, match=f"reward model '{tmp_path}' .*score.weight"):
        load_reward(tmp_path)


def test_a_torn_reward_model_is_refused(tmp_path):
    path = save_reward(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])

    with pytest.raises(ModelError, match=f"reward model '{tmp_path}' cannot be loaded: "):
        load_reward(tmp_path)
