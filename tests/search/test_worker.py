"""What a worker tells its parent."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ppo_tune.search import worker
from ppo_tune.search.pack_size import Share
from ppo_tune.search.plan import SearchPlan
from tests.worlds import OWNER, StudyMaker


class Pipe:
    """Keeps what is sent, and never asks for a stop."""

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []

    def send(self, event: dict[str, object]) -> None:
        self.sent.append(event)

    def poll(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("index", "told"), [(0, ["little", "endless"]), (1, [])], ids=["the first", "another"]
)
def test_the_first_worker_says_what_the_user_should_know_of_the_models(
    index: int, told: list[str], make_study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_pack = SimpleNamespace(
        work=SimpleNamespace(notes=("little", "endless")), runs={}, join=lambda _: None
    )
    monkeypatch.setattr(worker, "TrialPack", lambda *_, **__: trial_pack)
    for name in ("prepare_task", "keep_freed_memory", "_quiet", "_try_compiling", "run_trials"):
        monkeypatch.setattr(worker, name, lambda *_, **__: None)
    monkeypatch.setattr(worker, "load_study_from", lambda *_: SimpleNamespace())
    plan, pipe = SearchPlan(make_study()), Pipe()
    monkeypatch.setattr(plan, "begin", lambda *_: None)

    worker._train(plan, "sqlite://", tmp_path, OWNER, index, Share(workers=2, trials=1, pack=1), pipe)

    assert [event["text"] for event in pipe.sent if event["kind"] == "note"] == told
