# mypy: ignore-errors
"""The compiled pass: what it learns is what the plain one learns, and what it does not take goes by the plain one."""

import shutil

import pytest
import torch
from torch._inductor import config as inductor
from torch.testing import assert_close

from ppo_tune.errors import ModelError
from ppo_tune.models import Policy
from ppo_tune.models.fast.kernels import settle
from ppo_tune.models.lora import Bottleneck
from ppo_tune.trainer.compiling import MOST_SHAPES, CompiledPass, require_compiler
from ppo_tune.trainer.loss import LearningPass, gradients
from ppo_tune.trainer.update import Run, improve_policy
from tests.conftest import small_config, stirred_policy
from tests.trainer.experiences import PROMPTS, RESPONSES, make_experience, start

WIDTH, LENGTH = 1 + max(map(len, PROMPTS)), 1 + max(map(len, RESPONSES))  # more padding than there is
CONFIGS = [
    small_config(batch_size=4, ppo_epochs=2, ent_coef=0.1),
    small_config(batch_size=8, ppo_epochs=1, clip_range=0.05, clip_range_value=0.1, vf_coef=1.0),
]


def learn(policy: Policy, learning_pass: LearningPass):
    """Where the places end, and what happened."""
    places = list(range(policy.places))
    experience = make_experience(policy, places)
    runs = {place: start(policy, place, CONFIGS[place]) for place in places}
    learned = improve_policy(policy, experience, runs, temperature=0.7, learn=learning_pass)
    return policy.rows.values.clone(), learned


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="no C++ compiler on this machine; Debian's package is `g++`"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own, of torch's own
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param("gpt2", {"places": 2, "n_layer": 1}, id="adapters of a pack"),
        *(
            pytest.param(family, settings, id=name, marks=pytest.mark.guard)
            for name, family, settings in (
                ("adapters of their own scales", "gpt2", {"places": 2, "n_layer": 1, "adapters_vary": True}),
                ("turned rows", "gpt2", {"places": 2, "n_layer": 1, "adapter": "dora"}),
                ("vectors", "gpt2", {"places": 2, "n_layer": 1, "adapter": "ia3"}),
                ("prefixes", "gpt2", {"places": 2, "n_layer": 1, "adapter": "prefix"}),
                ("all weights", "llama", {"lora_rank": None, "num_hidden_layers": 1}),
            )
        ),
    ],
)
def test_a_compiled_pass_learns_what_the_plain_one_learns(family, settings):
    plain, other = stirred_policy(family, **settings), stirred_policy(family, **settings)
    for policy in (plain, other) if settings.get("adapters_vary") else ():
        policy.adapters.become(1, Bottleneck(4, 2.0))
    settle(other.model, other.device)  # with the kernels of a search
    compiled = CompiledPass(other, WIDTH, LENGTH)

    expected, said = learn(plain, gradients)
    values, told = learn(other, compiled)

    assert compiled._sizes == {(plain.places, 4)}
    assert_close(values, expected, atol=1e-5, rtol=1e-3)
    for place, record in said.items():
        assert_close(told[place].sums, record.sums, atol=1e-3, rtol=1e-3)
        assert told[place].gradient_norms == pytest.approx(record.gradient_norms, rel=1e-3)


class Watched(CompiledPass):
    """Notes which shapes come, and learns from them by the plain pass."""

    def __init__(self, policy: Policy, width: int = WIDTH, length: int = LENGTH) -> None:
        super().__init__(policy, width, length)
        plain, self.shapes = self._learn.__wrapped__, []

        def note(policy, batch, *args, **settings):
            self.shapes.append(
                (*batch.response_mask.shape[:2], batch.prompts.ids.shape[-1], batch.response_ids.shape[-1])
            )
            return plain(policy, batch, *args, **settings)

        self._learn = note


def test_all_that_the_compiled_pass_takes_has_one_width_and_one_length():
    policy, plain = stirred_policy(places=2), stirred_policy(places=2)
    watched = Watched(policy)

    values, _ = learn(policy, watched)

    # the first trial learns twice from eight responses, four at a time, the second once and leaves it alone then
    assert watched.shapes == [(2, 4, WIDTH, LENGTH)] * 2
    expected, _ = learn(plain, gradients)
    assert_close(values, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("width", "length"), [(WIDTH - 2, LENGTH), (WIDTH, LENGTH - 2)])
def test_a_micro_batch_that_is_too_long_goes_by_the_plain_pass(width, length):
    policy, plain = stirred_policy(places=2), stirred_policy(places=2)
    watched = Watched(policy, width, length)

    values, _ = learn(policy, watched)

    assert len(watched.shapes) < 2
    expected, _ = learn(plain, gradients)
    assert_close(values, expected, atol=1e-6, rtol=1e-4)


def test_a_pack_that_is_not_full_goes_by_the_plain_pass():
    policy = stirred_policy(places=3)
    watched = Watched(policy)
    runs = {place: start(policy, place, CONFIGS[0]) for place in (0, 2)}

    improve_policy(policy, make_experience(policy, [0, 2]), runs, temperature=0.7, learn=watched)

    assert watched.shapes == []


def test_only_so_many_sizes_are_compiled():
    compiled = CompiledPass(stirred_policy(places=2), 8, 8)

    taken = [compiled.takes(2, rows, 8, 8) for rows in range(1, MOST_SHAPES + 3)]

    assert taken == [True] * MOST_SHAPES + [False] * 2
    assert compiled.takes(2, 1, 3, 3)


def test_a_model_that_looks_at_numbers_is_refused_with_the_way_out():
    policy = stirred_policy()

    def look(module, args, output):
        return output if float(output.sum()) > 0 else -output

    policy.model.get_input_embeddings().register_forward_hook(look)
    run: dict[int, Run] = {0: start(policy, 0, CONFIGS[0])}

    with pytest.raises(ModelError) as caught:
        improve_policy(
            policy,
            make_experience(policy, [0]),
            run,
            temperature=0.7,
            learn=CompiledPass(policy, WIDTH, LENGTH),
        )

    message = str(caught.value)
    assert message.startswith("model.compile: the learning pass of this model cannot be compiled (")
    assert message.endswith("set compile: false")
    assert "\n" not in message


def test_without_a_compiler_the_way_out_is_told():
    with inductor.patch({"cpp.cxx": (None, "/nowhere/g++")}), pytest.raises(ModelError) as caught:
        require_compiler()

    assert str(caught.value) == (
        "model.compile: a C++ compiler must be there to compile the learning pass, but none was found; install "
        "g++, name another by the environment variable CXX, or set compile: false"
    )


def test_an_error_that_is_none_of_the_compilers_stays_what_it_is():
    compiled = CompiledPass(stirred_policy(), WIDTH, LENGTH)

    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    compiled._learn = fail

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        compiled(
            compiled.policy, make_experience(compiled.policy, [0]).rollout.sequences, torch.zeros(1, 8, 4, 1)
        )
