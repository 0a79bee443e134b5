# mypy: ignore-errors
"""What a worker sends to its supervisor."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ppo_tune.search import worker
from ppo_tune.search.plan import SearchPlan
from ppo_tune.search.workers import Worker
from tests.search.recorder import Recorder
from tests.worlds import OWNER, StudyMaker


@pytest.mark.parametrize(
    ("index", "told"), [(0, ["little", "endless"]), (1, [])], ids=["the first", "another"]
)
def test_the_first_worker_says_what_the_user_should_know_of_the_models(
    index: int,
    told: list[str],
    make_study: StudyMaker,
    channel: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial_pack = SimpleNamespace(
        work=SimpleNamespace(notes=("little", "endless")), runs={}, join=lambda _: None
    )
    monkeypatch.setattr(worker, "TrialPack", lambda *_, **__: trial_pack)
    for name in ("prepare_task", "take_device", "_try_compiling", "run_trials"):
        monkeypatch.setattr(worker, name, lambda *_, **__: None)
    monkeypatch.setattr(worker, "load_study_from", lambda *_: SimpleNamespace())
    plan = SearchPlan(make_study())
    for name in ("begin", "end"):
        monkeypatch.setattr(plan, name, lambda *_: None)

    worker.train(Worker(OWNER, index, plan, "sqlite://", tmp_path, trials=1, pack=1), channel)

    assert [event["text"] for event in channel.sent if event["kind"] == "note"] == told
