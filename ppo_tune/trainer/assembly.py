"""Everything one process needs to train and to score: policy, task, trainer, evaluator, made from a config."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ppo_tune.calling import place_of
from ppo_tune.config.model import USUAL_ADAPTER
from ppo_tune.config.run import RunConfig, TrainConfig
from ppo_tune.config.study import StudyConfig
from ppo_tune.data.draws import LEAST_PROMPTS, Draws, JudgedSplit, claim_draws, milestone_draws
from ppo_tune.errors import ConfigError, NoPromptsError, Problem, TrialError
from ppo_tune.models import Policy, load_policy, load_tokenizer
from ppo_tune.models.adapter_folders import AdapterFolder, find_adapter
from ppo_tune.models.kinds import layout_of
from ppo_tune.models.layout import remark_on_ends
from ppo_tune.models.loading import best_device, is_stored_whole, skeleton
from ppo_tune.models.stops import NONE, Stops
from ppo_tune.tasks import Task, check_form, make_task, notes_on_ends, stops_of, task_prompts
from ppo_tune.trainer.checks import check_scorers
from ppo_tune.trainer.compiling import CompiledPass, require_compiler
from ppo_tune.trainer.evaluation import Evaluation, Evaluator
from ppo_tune.trainer.pass_rates import PassRate, pass_rates, unit_tested
from ppo_tune.trainer.processes import ProcessGroup
from ppo_tune.trainer.text_measures import text_measures
from ppo_tune.trainer.trainer import PPOTrainer
from ppo_tune.trainer.versus import versus


@dataclass(frozen=True)
class Assembly:
    """One model in memory, with its task, what trains it and what scores it.

    Besides the model's own tokens, `stops` end a response of the task.
    """

    policy: Policy
    task: Task
    trainer: PPOTrainer
    evaluator: Evaluator
    stops: Stops = NONE

    @property
    def of_prompts(self) -> tuple[str, ...]:
        """How many prompts were too long for the model, and what became of them."""
        told = (self.trainer.prompts.told, self.evaluator.prompts.told)
        return tuple(filter(None, told))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before anything is trained."""
        name = self.policy.tokenizer.name_or_path
        ends = remark_on_ends(self.policy.model, self.policy.tokenizer)
        found = [told for told in (self.policy.remark, *self.of_prompts, ends) if told]
        stop_ids = self.policy.stop_ids.tolist()
        found += notes_on_ends(name, self.task, stop_ids=stop_ids, stops=self.stops)
        return tuple(found)


def assemble(
    config: StudyConfig | TrainConfig,
    *,
    draws: Draws | None = None,
    places: int = 1,
    device: torch.device | None = None,
    processes: ProcessGroup | None = None,
) -> Assembly:
    """Load what a config names, with so many places for trials that are trained side by side.

    `draws` is what scores a policy, None for the config's milestones. No device is the first GPU, or the CPU; without
    processes it trains alone.

    Raises:
        PPOTuneError: If a file, a reward or a model cannot be used.
    """
    compiles = config.model.compile is True  # auto is for those who can time it
    if compiles:
        require_compiler()
    device = device or best_device()
    stops = _stops(config, config.model.name)
    task = make_task(config.task, device)
    if config.model.name is None:  # the task's own, which is there now
        stops = _stops(config, task.base_model)
    policy = load_policy(
        config.widest_model, default_name=task.base_model, places=places, device=device,
        adapters_vary=config.adapters_vary,
    )  # fmt: skip
    policy.stop_also(stops)
    task.expect(whole_texts=policy.layout.closes_prompts)
    trainer = PPOTrainer(policy, task, config.ppo, processes)
    if compiles:
        trainer.learn = CompiledPass.of(trainer)
    evaluator = evaluator_for(policy, task, config, draws or milestone_draws(config))
    return Assembly(policy, task, trainer, evaluator, stops)


def evaluator_for(policy: Policy, task: Task, config: RunConfig, draws: Draws) -> Evaluator:
    """What scores a policy on some prompts with some random numbers, as a config has it."""
    rows_of_a_milestone = config.task.heldout_prompts  # more at once might not fit
    return Evaluator(
        policy,
        task,
        n_prompts=draws.n_prompts,
        max_new_tokens=config.ppo.max_new_tokens,
        temperature=config.ppo.temperature,
        seed=draws.seed,
        micro_batch_size=config.ppo.micro_batch_size or rows_of_a_milestone,
        split=draws.split,
    )


def evaluate_model(
    name: str,
    config: StudyConfig | TrainConfig,
    *,
    base: str | None = None,
    split: JudgedSplit = "confirmation",
    seed: int | None = None,
    responses: int = 1,
    against: str | None = None,
) -> Evaluation:
    """Score a model on a task's prompts, as a training or a study of this config scores its own.

    Args:
        name: A model folder or hub name; or that of a LoRA, DoRA, AdaLoRA, IA³ or prefix adapter in PEFT's format, as
            `train` and TRL leave it, which gives the numbers of the model that it is merged into, or put before.
        config: Its task, seed, length, temperature and dtype count; the dtype only for its own model and for weights
            that are stored in a short format.
        base: The folder or hub name of the model that an adapter was made of; None for the one that it names.
        split: `confirmation` is what a training claims of its model: prompts and random numbers that chose nothing;
            `heldout` is what the config's milestones say.
        seed: Instead of the config's.
        responses: To each prompt; more than one give pass@k, where unit tests judge. All else is said of the first.
        against: Another model, such as the base, to compare with on the same prompts and random numbers.

    Returns:
        The evaluation; its KL says nothing, for the model is its own reference.

    Raises:
        PPOTuneError: If the model or the task cannot be used.
        TrialError: If the reward fails.
    """
    config = config if seed is None else _with_seed(config, seed)
    device = best_device()
    adapter = _check_to_judge(name, config, base)  # before any model loads
    if against is not None:
        _check_to_judge(against, config)
    check_scorers(config, task_prompts(config.task).prompts[split])
    task = make_task(config.task, device)
    _check_responses(responses, task)
    policy = load_to_judge(name, task, config, device, adapter)
    task.expect(whole_texts=policy.layout.closes_prompts)
    if split == "heldout":
        evaluator = evaluator_for(policy, task, config, milestone_draws(config))
    else:
        evaluator = claim_evaluator(policy, task, config)
    first = judge(evaluator)
    _, columns = evaluator.prompts.texts(evaluator.rows)
    said = [sample.response for sample in first.samples]
    first = replace(first, texts=text_measures(said, columns.get("references")))
    if against is not None:
        other = evaluate_model(against, config, split=split)
        first = replace(first, versus=versus(first.scores(), other.scores()))
    if responses == 1:
        return first
    every = [first, *(judge(evaluator.again(number)) for number in range(1, responses))]
    return replace(first, pass_at=_pass_at(task, every))


def _check_to_judge(name: str, config: RunConfig, base: str | None = None) -> AdapterFolder | None:
    """All that can be known of a model that is to be judged without its weights; gives the adapter that it is.

    Args:
        name: Its folder or hub name, or an adapter's.
        config: Of the task.
        base: What an adapter was made of; None for what it names.

    Raises:
        PPOTuneError: If it cannot be used with this task.
    """
    adapter = find_adapter(name, base)
    judged = name if adapter is None else adapter.base
    whole_texts = layout_of(skeleton(judged).config).closes_prompts
    check_form(config.task, judged, whole_texts=whole_texts)
    _stops(config, name if adapter is None else adapter.tokenizer)
    return adapter


def _check_responses(responses: int, task: Task) -> None:
    """Make sure that so many responses to each prompt say something.

    Raises:
        ConfigError: If not.
    """
    place = place_of("responses")
    if responses < 1:
        raise ConfigError([Problem(place, f"`responses >= 1` must hold, but got {responses}")])
    if responses > 1 and not unit_tested(task):
        what = (
            f"more than one response to a prompt gives pass@k, which unit tests judge, but nobody who scores task "
            f"{task.name} is unit_tests; leave it out, or add such a judge, as task.gold"
        )
        raise ConfigError([Problem(place, what)])


def _pass_at(task: Task, every: Sequence[Evaluation]) -> dict[str, tuple[PassRate, ...]]:
    """pass@k by who judges by unit tests, of several evaluations of the same prompts."""
    prompts = [*zip(*(evaluation.samples for evaluation in every), strict=True)]
    return {
        name: pass_rates([[sample.by(name) for sample in samples] for samples in prompts])
        for name in unit_tested(task)
    }


def load_to_judge(
    name: str, task: Task, config: RunConfig, device: torch.device, adapter: AdapterFolder | None = None
) -> Policy:
    """A model as its numbers are to be measured.

    The config's own model is loaded as the config loads it, so that what was said of it comes again; so is one that an
    adapter was made of, before the adapter is merged into it. In any other one float32 weights stay float32, whatever
    `model.dtype` is: a shorter format would round away what a training added.
    """
    usual, read = config.model.name or task.base_model, name if adapter is None else adapter.base
    own = usual is not None and (read == usual or Path(read).resolve() == Path(usual).resolve())
    dtype = config.model.dtype if own or not is_stored_whole(read) else "float32"
    model = config.model.model_copy(update={"name": read, "dtype": dtype})
    if model.adapter == "prefix":
        model = model.model_copy(update={"adapter": USUAL_ADAPTER})  # one that does nothing
    policy = load_policy(model, device=device) if adapter is None else adapter.load_policy(model, device)
    policy.stop_also(_stops(config, name if adapter is None else adapter.tokenizer))
    return policy


def claim_evaluator(policy: Policy, task: Task, config: StudyConfig | TrainConfig) -> Evaluator:
    """Scores a policy on what chose nothing, or comes as close as the task's prompts allow.

    Where the confirmation split has too few prompts, the held-out ones are answered.
    """
    try:
        found = evaluator_for(policy, task, config, claim_draws(config))
        if len(found.rows) >= LEAST_PROMPTS:
            return found
    except NoPromptsError:
        pass
    return evaluator_for(policy, task, config, claim_draws(config, "heldout"))


def judge(evaluator: Evaluator, reference: Policy | None = None) -> Evaluation:
    """The evaluation of a policy's first place; its KL is to the reference of another policy, if one is given.

    Raises:
        TrialError: If the policy or its reward fails.
    """
    judged = evaluator([0], reference)[0]
    if isinstance(judged, TrialError):
        raise judged
    return judged


def _stops(config: RunConfig, name: str | None) -> Stops:
    """What ends the task's responses besides the model's own; a tokenizer that cannot is told before models load."""
    task = config.task
    if name is None or not (task.chat or task.stop):
        return NONE
    return stops_of(task, load_tokenizer(name))


def _with_seed(config: StudyConfig | TrainConfig, seed: int) -> StudyConfig | TrainConfig:
    if isinstance(config, StudyConfig):
        return config.model_copy(update={"search": config.search.model_copy(update={"seed": seed})})
    return config.model_copy(update={"seed": seed})
