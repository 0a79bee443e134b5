"""What a study says of its outcome: one verdict with one sentence, which is the same wherever it is told.

Terminal, status, page, summary and the header of an exported config all say what stands here, and nothing of it is
worked out anywhere else.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ppo_tune.config.methods import LEAST
from ppo_tune.config.study import StudyConfig
from ppo_tune.plurals import counted
from ppo_tune.search.budget import Budget
from ppo_tune.search.concerns import Concern, Facts, concerns_of
from ppo_tune.search.facts import StudyFacts, TrialFacts, Unconfirmed
from ppo_tune.search.heldout import read_untrained
from ppo_tune.search.results import (
    baseline_trial,
    chosen_trial,
    config_key,
    config_of,
    ending_of,
    expectation_of,
    is_feasible,
    is_over,
    was_lost,
)
from ppo_tune.search.storage import confirmation_study

if TYPE_CHECKING:
    from ppo_tune.search.certainty import Gain
    from ppo_tune.search.race import Confirmation

Kind = Literal["better", "no_better", "caution", "not_confirmed", "nothing_feasible", "open"]
"""The winner beats its rival on fresh seeds; nothing does; something speaks against the trial to go on with; it is the
best of the search alone; the study is over and nothing can be gone on with; nothing is completed yet."""


@dataclass(frozen=True)
class Verdict:
    """What a study says.

    Attributes:
        kind: See `Kind`.
        trial: The trial to go on with: the confirmed winner within the KL budget; before a confirmation is finished
            the best completed trial within it. None if there is none.
        confirmed: Whether fresh seeds decided; they did not where the trial to go on with is only likely better.
        sentence: The verdict in words.
        advice: What to do instead of training that trial, in words; empty where it can be trained.
    """

    kind: Kind
    trial: int | None
    confirmed: bool
    sentence: str
    advice: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether it is one to be careful with."""
        return self.kind in ("no_better", "caution", "nothing_feasible", "open")


def read_verdict(study: Study, config: StudyConfig, folder: Path) -> Verdict:
    """What a study says now."""
    return judge(read_facts(study, config, folder))


def read_facts(study: Study, config: StudyConfig, folder: Path) -> Facts:
    """Collect what a verdict is made from; waits for scipy only where there is a confirmation."""
    every = [t for t in study.get_trials(deepcopy=False) if not was_lost(t)]
    trials = [t for t in every if t.state != TrialState.WAITING]
    confirmation, default = _confirmation(study, config), baseline_trial(study)
    winner, ended = chosen_trial(study, confirmation), is_over(study, config)
    return Facts(
        config=config,
        trials=trials,
        winner=winner,
        default=default,
        expected=None if winner is None or winner is default else expectation_of(study, winner),
        base=read_untrained(folder),
        folder=folder,
        confirmation=confirmation,
        ended=StudyFacts(study).ended,
        is_over=ended,
        unconfirmed=_why_unconfirmed(study, config) if ended else "",
    )


def _why_unconfirmed(study: Study, config: StudyConfig) -> Unconfirmed:
    """Why a search that is over confirmed nothing: what it noted, or else what can be told of an older one."""
    if (noted := StudyFacts(study).unconfirmed) or config.search.confirm_top == 0:
        return noted
    budget = Budget.of(config, study)
    if confirmation_study(study) is not None or budget.confirmation(study).top:
        return ""
    return "seconds" if budget.is_by_seconds(study) else "episodes"


def _confirmation(study: Study, config: StudyConfig) -> "Confirmation | None":
    if confirmation_study(study) is None:
        return None
    from ppo_tune.search.confirmation import read_confirmation  # half a second to import

    return read_confirmation(study, config)


def judge(facts: Facts) -> Verdict:
    """The verdict on what is known."""
    trial = None if facts.winner is None else facts.winner.number
    found = facts.confirmed
    confirmed = found is not None and found.outcome.kind != "likely"
    if facts.winner is None:
        kind, sentence = _nothing(facts)
        return Verdict(kind, trial, confirmed, sentence, _way_out(facts) if facts.is_over else "")
    concerns = concerns_of(facts)
    if concerns:
        said, advice = _caution(facts, concerns), what_to_change(facts, concerns)
        return Verdict("caution", trial, confirmed, said, advice)
    if found is None:
        told = f"Not confirmed: {_seen(facts, facts.winner)}{_expected(facts)}."
        return Verdict("not_confirmed", trial, confirmed, f"{told}{_unpaid(facts)}")
    if not confirmed:
        told = f"Not confirmed: {likely(found)}{_expected(facts)}."
        return Verdict("not_confirmed", trial, confirmed, told)
    kind = "better" if found.outcome.kind == "better" else "no_better"
    sentence = _better(found) if kind == "better" else no_better(found)
    return Verdict(kind, trial, confirmed, sentence)


def _better(confirmation: "Confirmation") -> str:
    outcome = confirmation.outcome
    assert outcome.gain is not None
    return (
        f"Trial {outcome.best} beats {rival_of(confirmation)} by {interval(outcome.gain)} {on(confirmation)}."
    )


def no_better(confirmation: "Confirmation") -> str:
    """What a confirmation says that found nothing better."""
    outcome, rival = confirmation.outcome, rival_of(confirmation)
    if outcome.best is None or outcome.gain is None:
        return (
            f"No better than {rival}: of the best of the search, none stayed within the KL budget of "
            f"{confirmation.kl_budget:g} nats on fresh seeds."
        )
    return (
        f"No better than {rival}: the best of {len(confirmation.challengers)} confirmed, trial {outcome.best}, gains "
        f"{interval(outcome.gain)} {on(confirmation)}."
    )


def likely(confirmation: "Confirmation") -> str:
    """What a confirmation says whose interval holds zero, as the middle of a sentence."""
    outcome = confirmation.outcome
    assert outcome.gain is not None
    return f"trial {outcome.best} gains {interval(outcome.gain)} over {rival_of(confirmation)} {on(confirmation)}"


def on(confirmation: "Confirmation") -> str:
    """What a gain was measured on, in words."""
    return f"on {counted(confirmation.n_seeds, 'fresh seed')} and {counted(len(confirmation.base), 'unseen prompt')}"


def _seen(facts: Facts, winner: FrozenTrial) -> str:
    """What the search saw of a trial."""
    config, budget = config_of(winner, facts.trials), facts.config.search.kl_budget
    is_default = facts.default is not None and config_key(facts.default) == config_key(winner)
    one = ", the default config," if is_default else ", one config," if len(config.trials) > 1 else ""
    mean = " on average" if len(config.trials) > 1 else ""
    at = "" if config.kl is None else f", at {config.kl:z.2f} of {budget:g} nats of KL"
    return f"{config.name}{one} scored {config.score:.3f}{mean} in the search{at}"


def _expected(facts: Facts) -> str:
    """What all results together expect of the winner, as the end of a sentence; empty while that is not known."""
    seen = facts.expected
    if seen is None:
        return ""
    gain = f"{seen.gain:+.2f} (sd {seen.error:.2f}) over the default config"
    within = f"{seen.within:.2f}" if seen.within < 0.995 else "above 0.99"
    return f"; all results together expect {gain}, within the KL budget with probability {within}"


def _unpaid(facts: Facts) -> str:
    """Why nothing was confirmed, as a sentence; empty where something else was the reason."""
    least, confirm = (
        f"{LEAST.top} candidates and the default on {LEAST.seeds} seeds",
        facts.next_steps.confirm(),
    )
    match facts.unconfirmed:
        case "episodes":
            return f" A quarter of its episodes does not pay for {least}; {confirm} does it anyway."
        case "seconds":
            return f" A quarter of its seconds does not pay for {least}; {confirm} does it anyway."
        case "over":
            return f" The seconds were over before the confirmation was; {confirm} goes on with it."
        case "":
            return ""


def _caution(facts: Facts, concerns: Sequence[Concern]) -> str:
    """What the trial scores, and what speaks against it."""
    confirmation, winner = facts.confirmed, facts.winner
    assert winner is not None
    if confirmation is None:
        scores = f"not confirmed, {_seen(facts, winner)}"
    elif confirmation.outcome.kind == "likely":
        scores = f"not confirmed, {likely(confirmation)}"
    elif confirmation.outcome.kind == "better":
        assert confirmation.outcome.gain is not None
        scores = (
            f"trial {winner.number} scores higher than {rival_of(confirmation)} "
            f"({confirmation.outcome.gain.mean:+.2f} on {counted(confirmation.n_seeds, 'fresh seed')})"
        )
    else:
        scores = f"nothing is better than trial {winner.number}, the default config"
    *others, last = [concern.words for concern in concerns]
    told = f"{', '.join(others)} and {last}" if others else last
    return f"Caution: {scores}, but {_suspicion(concerns)}{told}."


def _suspicion(concerns: Sequence[Concern]) -> str:
    """What the concerns together look like; responses that are cut off are no more than that."""
    if any(concern.kind == "judge" and concern.certain for concern in concerns):
        return "it exploits the reward: "
    return "" if all(concern.kind == "endings" for concern in concerns) else "it looks like reward hacking: "


def what_to_change(facts: Facts, concerns: Sequence[Concern]) -> str:
    """What would keep the next search from the same end."""
    kinds, changes = {concern.kind for concern in concerns}, []
    if kinds & {"judge", "text"}:
        budget = f"{facts.config.search.kl_budget:g} nats"
        peaks = {concern.judge: _peak(facts, concern.judge) for concern in concerns if concern.judge}
        told = "".join(f"; {judge} {peak}" for judge, peak in peaks.items() if peak)
        changes.append(f"lower search.kl_budget ({budget} now{told}) or raise kl_coef")
    if "endings" in kinds:
        ppo = facts.config.ppo
        now = f"({ppo.missing_eos_penalty:g} now) or ppo.max_new_tokens ({ppo.max_new_tokens} now)"
        changes.append(f"raise ppo.missing_eos_penalty {now} so that responses end")
    return f"Do not train it as it is: {', and '.join(changes)}; then search again under another name."


def _peak(facts: Facts, judge: str) -> str:
    # Waits for pandas.
    from ppo_tune.search.judge_by_kl import judge_by_kl, judge_points, peak_words

    points = judge_points(facts.trials, None if facts.base is None else facts.base.heldout, judge)
    return peak_words(judge_by_kl(points))


def _nothing(facts: Facts) -> tuple[Kind, str]:
    """What is said where there is no trial to go on with."""
    budget = facts.config.search.kl_budget
    if facts.confirmed is not None:
        return (
            "nothing_feasible",
            f"{no_better(facts.confirmed)} The default config left the budget too, so nothing is exported.",
        )
    if not facts.is_over:
        return "open", f"No trial has been completed within the KL budget of {budget:g} nats yet."
    if not facts.trials:
        return "nothing_feasible", "No trial was completed: the search was over before one had ended."
    counts = _endings(facts)
    told = ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))
    return "nothing_feasible", f"No trial was completed within the KL budget of {budget:g} nats ({told})."


def _endings(facts: Facts) -> dict[str, int]:
    """How trials ended, in words; a completed one beyond the budget is called so."""
    counts: Counter[str] = Counter()
    for trial in facts.trials:
        ending = ending_of(trial)
        beyond = ending == "completed" and not is_feasible(trial)
        counts["completed beyond it" if beyond else WORDS.get(ending, ending.replace("_", " "))] += 1
    return counts


WORDS = {"kl_limit": "ended at the KL limit", "reward_error": "stopped by the reward"}
"""Endings whose names are not words."""

KL_ADVICE = (
    "In a new study lower learning_rate, raise kl_coef or raise search.kl_budget ({budget:g} nats now)."
)
ADVICE = {
    "diverged": "In a new study lower learning_rate.",
    "reward_error": "Mend the reward: {reason}.",
    "out_of_memory": "In a new study lower ppo.rollout_size or ppo.max_new_tokens.",
    "crashed": "See why its workers died: {reason}.",
    "pruned": "Run more trials with {more}, or in a new study search.pruner none.",
}
"""The way out by the ending that most trials had; of the KL budget see `KL_ADVICE`."""


def _way_out(facts: Facts) -> str:
    """What to change where everything failed, by what most trials failed of."""
    if not facts.trials:
        return f"Give it more: {facts.next_steps.extend}."
    counts = Counter(ending_of(trial) for trial in facts.trials)
    most = max(counts, key=lambda ending: counts[ending])
    first = next((t for t in facts.trials if ending_of(t) == most), None)
    reason = "" if first is None else " ".join(TrialFacts(first).reason.split())
    return ADVICE.get(most, KL_ADVICE).format(
        budget=facts.config.search.kl_budget, reason=reason.rstrip("."), more=facts.next_steps.more_trials
    )


def rival_of(confirmation: "Confirmation") -> str:
    """What the winner was measured against, in words."""
    return "the default config" if confirmation.outcome.rival == "default" else "the untrained model"


def interval(found: "Gain") -> str:
    """A gain with its interval."""
    return f"{found.mean:+.2f} (95 % interval {found.low:+.2f} to {found.high:+.2f})"
