# mypy: ignore-errors
"""The loop of a worker: ask, train, report, prune, tell; every ending has its name and loses nothing."""

import json
import statistics
from pathlib import Path

import pytest
from optuna.trial import TrialState

from ppo_tune.errors import SearchStoppedError
from ppo_tune.files import read_json, read_json_lines, write_json
from ppo_tune.search.facts import StudyFacts, TrialFacts
from ppo_tune.search.folders import StudyFolder
from ppo_tune.search.results import baseline_trial, ending_of, ranked_trials
from ppo_tune.search.winner import best_config, full_length
from tests.search.one_worker import Search, write_reward
from tests.worlds import StudyMaker


def test_a_search_runs_to_its_total_and_keeps_what_a_report_needs(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study(), tmp_path / "run")

    trials = search.run()

    assert [ending_of(trial) for trial in trials] == ["completed"] * 4
    for trial in trials:
        curve = trial.user_attrs["curve"]
        assert [point["episodes"] for point in curve] == [16, 32]
        assert trial.value == curve[-1]["score"] == trial.user_attrs["heldout/score"]
        assert trial.intermediate_values == {1: curve[0]["score"], 2: curve[1]["score"]}
        for point, name in (("score_error", "score_standard_error"), ("response_tokens", "response_tokens")):
            assert curve[-1][point] == trial.user_attrs[f"heldout/{name}"] > 0
        assert not {"gold", "gold_error"} & {*curve[0], *curve[1]}  # the toy task has no gold reward
        assert trial.user_attrs["episodes"] == 32
        assert trial.user_attrs["tokens"] > 32
        assert trial.constraints == {"kl_per_sequence": pytest.approx(curve[-1]["kl"] - 100.0)}
        folder = tmp_path / "run" / "trials" / f"{trial.number:04d}"
        iterations = [
            line for line in read_json_lines(folder / "metrics.jsonl") if "objective/score_mean" in line
        ]
        assert [line["episodes"] for line in iterations] == [8, 16, 24, 32]
        assert len(read_json(folder / "samples.json")) == 6
        assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_a_trial_records_the_config_its_trainer_really_used(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study(ppo={"gamma": 0.5}), tmp_path / "run")

    trials = search.run()

    for trial in trials:
        used = trial.user_attrs["config"]
        assert used["learning_rate"] == trial.params["learning_rate"]
        assert used["kl_coef"] == trial.params["kl_coef"]
        assert used["gamma"] == 0.5
        assert used == read_json(tmp_path / "run" / "trials" / f"{trial.number:04d}" / "config.json")


def test_trial_0_is_the_default_config(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study(search={"n_trials": 1}), tmp_path / "run")

    (trial,) = search.run()

    assert trial.params == {"learning_rate": 1e-4, "kl_coef": 0.05}
    assert baseline_trial(search.study).number == 0


def test_the_untrained_model_is_scored_once(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study(search={"n_trials": 1}), tmp_path / "run")

    search.run()

    base = read_json(tmp_path / "run" / "base.json")
    assert abs(base["heldout/kl_per_sequence"]) < 1e-5
    assert len(base["samples"]) == 6


def test_a_reward_that_fails_on_the_untrained_model_stops_before_any_trial(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    task = write_reward(tmp_path / "reward.py", "    raise KeyError('no size')")
    search = Search(make_study(task=task), tmp_path / "run")

    with pytest.raises(
        SearchStoppedError,
        match=r"the untrained model cannot be scored: .* raised KeyError: 'no size' for prompt",
    ):
        search.run()

    assert [trial.state for trial in search.study.trials] == [TrialState.WAITING]


def test_values_are_learned_in_the_spread_of_the_untrained_models_scores(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study(search={"n_trials": 2}), tmp_path / "run")

    trials = search.run()

    base = read_json(tmp_path / "run" / "base.json")
    assert base["score_std"] == pytest.approx(statistics.stdev(base["scores"]), rel=1e-5)
    assert search.study.user_attrs["score_std"] == base["score_std"]
    assert [trial.user_attrs["score_std"] for trial in trials] == [base["score_std"]] * 2
    assert best_config(search.study, search.config).score_std == base["score_std"]


def test_a_study_of_scores_in_another_unit_is_the_same_study(make_study: StudyMaker, tmp_path: Path) -> None:
    """Of scores of 1e-6 no digit is lost on the way to the confirmation either."""
    found = {}
    c = 2.0**-20
    space = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
    for unit in (1.0, c):
        reward = {"name": "rule", "include": {"red": unit}, "avoid": {"blue": 0.5 * unit}}
        config = make_study(
            f"unit{unit:g}", task={"reward": reward}, ppo={"kl_coef": 0.05 * unit}, space=space,
            search={"n_trials": 2},
        )  # fmt: skip
        found[unit] = Search(config, tmp_path / f"{unit:g}").run()

    for one, other in zip(found[1.0], found[c], strict=True):
        assert other.params == one.params
        assert other.value == pytest.approx(one.value * c, rel=1e-12)
        assert other.user_attrs["scores"] == pytest.approx(
            [c * x for x in one.user_attrs["scores"]], rel=1e-5
        )
        assert other.user_attrs["heldout/kl_per_sequence"] == one.user_attrs["heldout/kl_per_sequence"]


def test_where_all_scores_are_equal_values_stay_in_their_unit_and_a_note_says_so(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    task = write_reward(tmp_path / "reward.py", "    return [0.1] * len(responses)")
    search = Search(make_study(task=task, search={"n_trials": 1}), tmp_path / "run")

    (trial,) = search.run()

    assert trial.user_attrs["score_std"] == 1.0
    notes = [event["text"] for event in search.events if event["kind"] == "note"]
    assert any("the untrained model's scores are all equal" in note for note in notes)


def test_trials_that_join_those_of_version_0_1_0_learn_values_as_they_did(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study(search={"n_trials": 2}), tmp_path / "run")
    base = tmp_path / "run" / "base.json"
    search.trial_pack._score_base()
    facts = read_json(base)
    assert facts.pop("score_std") > 0
    write_json(base, facts)

    trials = search.run()

    assert [trial.user_attrs["score_std"] for trial in trials] == [1.0] * 2


def test_a_pack_of_trials_scores_what_they_score_alone(make_study: StudyMaker, tmp_path: Path) -> None:
    space = {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "batch_size": {"type": "categorical", "choices": [2, 4, 8]},
    }
    config = make_study(space=space, search={"n_trials": 5})

    alone = Search(config, tmp_path / "alone", places=1).run()
    packed = Search(config, tmp_path / "packed", places=3).run()

    assert [t.params for t in packed] == [t.params for t in alone]
    for one, other in zip(alone, packed, strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-5)
        assert other.user_attrs["heldout/kl_per_sequence"] == pytest.approx(
            one.user_attrs["heldout/kl_per_sequence"], abs=1e-4
        )


def test_a_trial_that_runs_again_under_another_number_repeats_itself(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    config = make_study(search={"n_trials": 2})
    first = Search(config, tmp_path / "run")
    first.run()
    values = first.study.get_trials()[1]
    first.study.enqueue_trial(values.params, user_attrs={"rerun_of": 1})
    again = Search(make_study(search={"n_trials": 3}), tmp_path / "run")

    repeated = again.run()[2]

    assert repeated.value == values.value
    assert repeated.user_attrs["tokens"] == values.user_attrs["tokens"]


def test_a_trial_beyond_the_kl_limit_ends_with_that_name_and_is_not_feasible(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    space = {"learning_rate": {"type": "float", "low": 0.2, "high": 0.5, "default": 0.3}}
    config = make_study(space=space, search={"n_trials": 1, "kl_budget": 1e-5, "kl_limit": 2e-5})
    search = Search(config, tmp_path / "run")

    (trial,) = search.run()

    assert ending_of(trial) == "kl_limit"
    assert trial.state is TrialState.PRUNED
    assert trial.constraints["kl_per_sequence"] > 0
    assert "beyond 2e-05 nats per sequence" in trial.user_attrs["reason"]
    assert trial.user_attrs["episodes"] < 32


def test_a_completed_trial_beyond_the_budget_does_not_win(make_study: StudyMaker, tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "low": 1e-3, "high": 0.5, "default": 0.1}}
    config = make_study(space=space, search={"n_trials": 1, "kl_budget": 1e-6, "kl_limit": 1e9})
    search = Search(config, tmp_path / "run")

    (trial,) = search.run()

    assert ending_of(trial) == "completed"
    assert ranked_trials(search.study) == []
    with pytest.raises(
        Exception, match=r"no trial with `kl_per_sequence <= 1e-06` that holds up yet; run more"
    ):
        best_config(search.study, config)


def test_a_trial_that_diverges_ends_with_that_name(make_study: StudyMaker, tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "low": 1.0, "high": 1e30, "log": True, "default": 1e25}}
    search = Search(make_study(space=space, search={"n_trials": 1, "kl_limit": 1e30}), tmp_path / "run")

    (trial,) = search.run()

    assert ending_of(trial) == "diverged"
    assert trial.state is TrialState.PRUNED
    assert trial.constraints["kl_per_sequence"] > 0
    assert "not finite after" in trial.user_attrs["reason"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(
            "    raise KeyError('no size')", "raised KeyError: 'no size' for prompt 'a ", id="raises"
        ),
        pytest.param(
            "    return [float('nan')] * len(responses)", "must return finite numbers, but got nan", id="nan"
        ),
        pytest.param("    return [1.0]", "one number per response, but got 1 for 8 responses", id="count"),
        pytest.param("    return None", "must return a list of numbers, but got None", id="none"),
    ],
)
def test_a_reward_that_fails_ends_its_trial_with_a_clear_reason(
    make_study: StudyMaker, tmp_path: Path, body: str, words: str
) -> None:
    sound_at_first = f"    if calls == 1:\n        return [float(len(r)) for r in responses]\n{body}"
    task = write_reward(tmp_path / "reward.py", sound_at_first)
    search = Search(make_study(task=task, search={"n_trials": 2}), tmp_path / "run")

    trials = search.run()

    assert [ending_of(trial) for trial in trials] == ["reward_error"] * 2
    assert all(trial.state is TrialState.FAIL for trial in trials)
    assert all(words in trial.user_attrs["reason"] for trial in trials)


def test_the_default_is_never_pruned_and_a_hopeless_trial_is(make_study: StudyMaker, tmp_path: Path) -> None:
    # The reward falls by one with every call, so every later trial is behind all earlier ones.
    task = write_reward(
        tmp_path / "reward.py",
        "    return [-float(calls)] * len(responses)",
    )
    search_block = {"n_trials": 4, "pruner": "successive_halving", "milestones": 4}
    search = Search(make_study(task=task, search=search_block), tmp_path / "run")

    trials = search.run()

    assert [ending_of(trial) for trial in trials] == ["completed", "pruned", "pruned", "pruned"]
    assert trials[1].user_attrs["episodes"] == 16
    assert trials[1].user_attrs["reason"].endswith("after 16 episodes, behind the others")


def test_a_stop_gives_the_trials_under_way_back(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study()
    search = Search(config, tmp_path / "run", places=2)
    iterations = iter(range(100))

    search.run(should_stop=lambda: next(iterations) == 2)
    stopped = [ending_of(t) for t in search.study.get_trials()]
    trials = Search(config, tmp_path / "run").run()

    assert stopped == ["preempted", "preempted", "waiting", "waiting"]
    assert sorted(ending_of(t) for t in trials) == ["completed"] * 4 + ["preempted"] * 2
    assert trials[2].user_attrs["rerun_of"] == 0


def test_the_best_config_is_the_winners_at_full_length(make_study: StudyMaker, tmp_path: Path) -> None:
    config = make_study()
    search = Search(config, tmp_path / "run")
    search.run()

    best = best_config(search.study, config)

    winner = max(search.study.get_trials(), key=lambda t: t.value)
    assert best.ppo.learning_rate == winner.params["learning_rate"]
    assert best.ppo.kl_coef == winner.params["kl_coef"]
    assert best.ppo.episodes == 4 * 32
    assert best.name == "small"


def test_trials_of_different_ranks_share_a_pack_and_each_keeps_its_own(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    """Also as what it hands on: the winner's rank is that of its full training, of its adapter, and of its exports."""
    space = {
        "learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
        "lora_rank": {"type": "categorical", "choices": [1, 2, 8], "default": 2},
        "lora_alpha": {"type": "float", "low": 1, "high": 64, "log": True},
    }
    config = make_study(space=space, search={"n_trials": 6})

    trials = Search(config, tmp_path / "packed", places=3).run()
    single = Search(config, tmp_path / "alone").run()

    assert [trial.values for trial in trials] == [pytest.approx(trial.values, rel=1e-3) for trial in single]
    assert len({trial.params["lora_rank"] for trial in trials}) > 1
    for trial in trials:
        used = TrialFacts(trial).config
        folder = StudyFolder(tmp_path / "packed").trial(trial.number).adapter
        saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        whole = full_length(trial, config)
        for name, key in (("lora_rank", "r"), ("lora_alpha", "lora_alpha")):
            assert used[name] == trial.params[name] == saved[key] == getattr(whole.model, name)


def test_events_tell_a_watcher_what_happens(make_study: StudyMaker, tmp_path: Path) -> None:
    search = Search(make_study(search={"n_trials": 1}), tmp_path / "run")

    search.run()

    kinds = [event["kind"] for event in search.events]
    assert kinds == [
        "started",
        "progress",
        "progress",
        "milestone",
        "progress",
        "progress",
        "milestone",
        "ended",
    ]
    assert search.events[-1]["ending"] == "completed"
    assert json.dumps(search.events)  # plain data, fit for a pipe


def test_the_end_of_a_trial_answers_four_times_as_many_prompts_as_a_milestone_before(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    few = {"heldout_prompts": 1}
    search = Search(make_study(task=few), tmp_path / "run")

    trials = search.run()

    base = read_json(tmp_path / "run" / "base.json")
    assert len(base["scores"]) == base["n_prompts"] == 4
    for trial in trials:
        first, last = trial.user_attrs["curve"]
        scores = trial.user_attrs["scores"]
        assert len(scores) == 4
        assert trial.value == last["score"] == pytest.approx(statistics.mean(scores), abs=1e-5)
        assert first["score_error"] == 0.0  # of a single prompt


def test_a_study_keeps_how_many_prompts_were_too_long(
    make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(make_study(), tmp_path / "run")
    monkeypatch.setattr(search.trial_pack.work.trainer.prompts, "told", "3 of 9 were dropped")

    search.trial_pack.join(search.study)

    assert list(StudyFacts(search.study).prompts) == ["3 of 9 were dropped"]
    assert "3 of 9 were dropped" in search.trial_pack.work.notes


def test_a_study_that_was_begun_with_fewer_prompts_at_the_end_goes_on_so(
    make_study: StudyMaker, tmp_path: Path
) -> None:
    search = Search(make_study(task={"heldout_prompts": 2}), tmp_path / "run")
    search.trial_pack.join(search.study)
    base = tmp_path / "run" / "base.json"
    write_json(base, {**read_json(base), "n_prompts": 2})  # as version 0.1.0 wrote it

    trials = Search(make_study(task={"heldout_prompts": 2}), tmp_path / "run").run()

    assert [len(trial.user_attrs["scores"]) for trial in trials] == [2, 2, 2, 2]
