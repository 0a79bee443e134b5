"""The optional end of a search: all results together expect next to nothing from one more trial."""

from optuna.study import Study

from ppo_tune.config.study import StudyConfig
from ppo_tune.search.facts import StudyFacts
from ppo_tune.search.proposals import most_promising
from ppo_tune.search.results import was_lost
from ppo_tune.search.surrogate import has_results

SHARE = 0.2
"""Of the noise of a score. An improvement as large as the noise is expected of hardly any trial from the tenth on."""


def note_no_gain(study: Study, config: StudyConfig) -> None:
    """Keep in the study that its search is over, if one more trial promises less than `SHARE` of the noise.

    That is the largest expected improvement, times the probability to be within the KL budget, over many configs;
    trials under way count as what is expected of them.
    """
    every = [t for t in study.get_trials(deepcopy=False) if not was_lost(t)]
    trials = [t for t in every if config.space.is_whole(t.params)]
    if not has_results(trials):
        return
    found = most_promising(config, trials, len(trials))
    if found is not None and found.improvement < SHARE * found.noise:
        StudyFacts(study).no_gain = (
            f"stop_when_no_gain ended the search after {len(trials)} trials: all results together expect "
            f"{found.improvement:+.3f} from one more, less than a fifth of the noise of a score ({found.noise:.2f})"
        )
