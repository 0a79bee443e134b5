"""Where another trainer finds a study's model, reward and prompts, and what it must know of the model's tokens.

It loads a tokenizer and a model's config, no weights. What cannot be read is None, never an error: the model of
an export may stand where this machine does not see it.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from ppo_tune.config.block import Named
from ppo_tune.config.rewards import PreferenceRewardConfig, RewardConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.config.tasks import DatasetTaskConfig, EmbeddedTaskConfig, TaskConfig
from ppo_tune.data.hub import HubName, pretrained
from ppo_tune.data.prompts import Prompt, read_prompts, split_of
from ppo_tune.errors import ConfigError, ModelError, PPOTuneError
from ppo_tune.export.base import Sources, TokenFacts
from ppo_tune.export.enclosures import Enclosing
from ppo_tune.models.chat import prompt_ids, shortened
from ppo_tune.models.context import usable_positions
from ppo_tune.models.loading import load_tokenizer
from ppo_tune.models.text import tokenize
from ppo_tune.rewards.score_format import read_format
from ppo_tune.tasks import make_task, stops_of
from ppo_tune.tasks.embedded import own_reward


def read_sources(config: StudyConfig, enclosing: Enclosing | None = None) -> Sources:
    """Model, reward and training prompts of a study, with what can be read of their tokens and of the reward's gain.

    The models of an embedded task are built if the cache does not hold them, and always go along.

    Args:
        config: The study's.
        enclosing: Gives what goes along its place; None links to folders of models.
    """
    enclosing = enclosing or Enclosing()
    model, reward, unread = config.model.name, config.task.reward, ""
    prompts: tuple[Prompt, ...] | None = None
    if isinstance(config.task, EmbeddedTaskConfig):
        task = make_task(config.task, torch.device("cpu"))
        model, prompts = model or task.base_model, task.prompts["train"]
        reward = reward or own_reward(config.task)
    else:
        try:
            prompts = tuple(p for p in read_prompts(config.task)[0] if split_of(p.text) == "train")
        except PPOTuneError as error:
            unread = _without_folders(str(error), config.task.path)
            enclosing.notes.append(f"the prompts do not go along: {error}")
        enclosing.compare("task.path", Path(config.task.path))
    tokens = TokenFacts()
    if model is not None and prompts is not None:
        tokens, prompts = read_tokens(model, prompts, config.task, response_tokens=config.ppo.max_new_tokens)
    gain = read_format(reward.model).gain if isinstance(reward, PreferenceRewardConfig) else None
    if model is not None:
        model = enclosing.model(model, copied=config.model.name is None)
    if config.task.reward is None and isinstance(reward, PreferenceRewardConfig):
        enclosing.model(reward.model, "task.reward.model", copied=True)
    if reward is not None:
        reward = enclosing.block(reward, "task.reward")
    named = [*([] if model is None else [model]), *(_models_of(reward) if reward is not None else [])]
    return Sources(
        model=None if model is None else HubName.of(model).repo,
        reward=None if reward is None else reward.renamed(_without_revision),
        prompts=prompts,
        unread=unread,
        tokens=tokens,
        gain=gain,
        enclosures=enclosing.enclosures,
        notes=tuple(enclosing.notes),
        revisions=tuple(dict.fromkeys(name for name in named if HubName.of(name).revision)),
    )


def _models_of(reward: RewardConfig) -> list[str]:
    return [named.value for named in reward.names() if named.kind in ("model", "judge")]


def _without_revision(named: Named) -> str:
    return HubName.of(named.value).repo if named.kind in ("model", "judge") else named.value


def _without_folders(text: str, name: str) -> str:
    """What is wrong with a file, without the folders of this machine: it goes to others."""
    text = text.replace(name, Path(name).name).replace(f" (looked in {Path.cwd()})", "")
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        text = text if folder == Path("/") else text.replace(str(folder), short)
    return text


def read_tokens(
    model: str, prompts: Sequence[Prompt], task: TaskConfig, *, response_tokens: int
) -> tuple[TokenFacts, tuple[Prompt, ...]]:
    """Facts of a model's tokens, and the prompts that ppo-tune trained on.

    Args:
        model: A folder or hub name.
        prompts: The training prompts.
        task: Says whether they are wrapped in the tokenizer's chat template, and what ends a response.
        response_tokens: Room that the context must leave for a response.

    Returns:
        The facts; and the prompts less those that are empty or too long, which the task drops, or cut as it cuts them.
    """
    config = _config(model)
    context = None if config is None else usable_positions(config)
    texts = [prompt.text for prompt in prompts]
    try:
        tokenizer = load_tokenizer(model)
        rows = prompt_ids(tokenizer, texts, chat=task.chat)
        stops = stops_of(task, tokenizer)
    except (ModelError, ConfigError):
        return TokenFacts(context=context), tuple(prompts)
    room = len(max(rows, key=len, default=())) if context is None else context - response_tokens
    cuts = isinstance(task, DatasetTaskConfig) and task.too_long == "cut"
    kept: list[tuple[Prompt, list[int]]] = []
    for prompt, row in zip(prompts, rows, strict=True):
        if 0 < len(row) <= room:
            kept.append((prompt, row))
        elif row and cuts and (cut := shortened(tokenizer, prompt.text, room, chat=task.chat)):
            kept.append((prompt.cut_to(cut[0]), cut[1] if task.chat else tokenize(tokenizer, [cut[0]])[0]))
    if not kept:  # what stands there is not what was trained
        return TokenFacts(context=context), tuple(prompts)
    named = _named_ends(model, config, tokenizer)
    facts = TokenFacts(
        longest_prompt=max((len(row) for _, row in kept), default=None),
        context=context,
        before=None if task.chat else _before(tokenizer, [p.text for p, _ in kept], [row for _, row in kept]),
        ends={i: str(tokenizer.decode([i])) for i in sorted({*named, *stops.ids})},
        stops=tuple(i for i in stops.ids if i not in named),
        stop_texts=stops.texts,
    )
    return facts, tuple(prompt for prompt, _ in kept)


def _named_ends(model: str, config: PretrainedConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a response by the tokenizer and by the model's authors, as its policy has them."""
    try:
        name, where = pretrained(model)
        named = GenerationConfig.from_pretrained(name, **where, trust_remote_code=False).eos_token_id
    except (OSError, ValueError):
        named = None if config is None else getattr(config, "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return [int(i) for i in ids if i is not None]


def _before(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], rows: Sequence[Sequence[int]]
) -> str | None:
    """The text that, written before a prompt, makes a tokenizer that adds nothing read what ours reads.

    Args:
        tokenizer: The model's tokenizer.
        texts: Prompts.
        rows: Their token ids, as ppo-tune reads them.

    Returns:
        None if there is no such text for all of the prompts.
    """
    if not texts:
        return None
    plain = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    added = list(rows[0][: max(0, len(rows[0]) - len(plain))])
    before = str(tokenizer.decode(added))
    same = tokenizer([before + text for text in texts], add_special_tokens=False)["input_ids"]
    return before if [list(row) for row in rows] == [list(row) for row in same] else None


def encodes(model: str) -> bool:
    """Whether a model is an encoder–decoder, as far as its config can be read."""
    config = _config(model)
    return config is not None and bool(config.is_encoder_decoder)


def _config(model: str) -> PretrainedConfig | None:
    try:
        name, where = pretrained(model)
        config: PretrainedConfig = AutoConfig.from_pretrained(name, **where, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return None
    return config
