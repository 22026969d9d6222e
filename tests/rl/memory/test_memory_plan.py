"""What is told of a run's memory before it starts."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import PpoConfig
from abcrl.rl.memory.footprint import Footprint
from abcrl.rl.memory.plan import (
    MemoryPlan,
    describe_memory,
    describe_plan,
    free_memory,
    largest_rows,
)
from tests.conftest import TinyRuns
from tests.rl.memory.measured_memory import save_models

CPU = torch.device("cpu")
LINES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 500)), min_size=1, max_size=3)


@given(LINES, st.integers(1, 64), st.integers(0, 200_000))
def test_what_is_said_to_fit_fits(lines: list[tuple[int, int]], at: int, room: int):
    def peak(rows: int) -> int:
        return max(0, *(fixed + each * rows for fixed, each in lines))

    rows = largest_rows(peak, at, room)
    assert rows == 0 or peak(rows) <= room
    if len(lines) == 1:
        fixed, each = lines[0]
        assert rows == max(0, min((room - fixed) // each, 512))


def test_no_more_are_looked_for():
    assert largest_rows(lambda rows: rows, 3, 10**9, most=100) == 100
    assert largest_rows(lambda rows: rows, 300, 10**9, most=100) == 300


def test_a_number_in_use_that_fits_is_no_less_than_the_largest():
    # Steeper from 10 rows on, so that the line through the first points says too much.
    rows = largest_rows(lambda rows: max(10 * rows, 100 * rows - 900), 4, 1000)
    assert 10 <= rows <= 19


@pytest.fixture(scope="module")
def configure(tiny_tokenizer, tmp_path_factory) -> Callable[..., PpoConfig]:
    """configure(**changes): a run of networks of one layer, as every operation is counted."""
    root = tmp_path_factory.mktemp("plan")
    models = save_models(
        root, tiny_tokenizer, "gpt2", hidden_size=64, num_hidden_layers=1, vocab_size=400
    )
    return lambda **changes: TinyRuns(root).ppo(root / "run", **{**models, **changes})


@pytest.fixture(scope="module")
def config(configure):
    return configure()


@pytest.fixture(scope="module")
def footprint(config):
    return Footprint(config, CPU)


@pytest.fixture(scope="module")
def plan(config, footprint):
    return MemoryPlan(config, footprint)


@pytest.fixture(scope="module")
def plan_of_most(configure):
    """Adapters, and a value model of its own."""
    config = configure(networks__lora={}, networks__value_model="separate")
    return MemoryPlan(config, Footprint(config, CPU))


def test_a_line_for_each_network_and_what_fits(plan):
    title, policy, reference, reward_model, peak, *_, fits = describe_plan(plan, "cpu", 10**10)
    assert title.startswith("memory, float32 on cpu ")
    assert " ".join(title.split()[-6:]) == "weights gradients optimizer activations KV cache"
    assert policy.startswith("  policy, value head ")
    assert policy.count("iB") == 5
    assert reference.startswith("  reference ")
    assert reference.count("iB") == 2  # weights and activations
    assert reward_model.startswith("  reward model ")
    assert reward_model.count("iB") == 2
    assert peak.startswith("peak, weights and optimizer included: ")
    assert fits.startswith("fits up to: batch_size ")


@pytest.mark.parametrize("free", [4 * 10**6, 10])
def test_lines_fit_a_terminal(plan_of_most, free):
    assert all(len(line) <= 78 for line in describe_plan(plan_of_most, "cuda", free))


@pytest.mark.slow
def test_without_a_copy_the_reference_has_no_weights(plan_of_most):
    lines = list(describe_plan(plan_of_most, "cpu", 10**10))
    names = [line[:26].strip() for line in lines[1:5]]
    assert names == ["LoRA policy", "value model", "reference", "reward model"]
    assert lines[2].count("iB") == 4  # all but a cache
    assert lines[3].split()[1:4] == ["-", "-", "-"]


def test_the_largest_batches_fit_and_larger_ones_do_not(plan, footprint):
    room = 8 * 2**20
    micro = plan.largest_micro_batch(plan.held + room)
    assert footprint.update(micro).peak <= room < footprint.update(micro + micro // 20).peak
    batch = plan.largest_batch(plan.held + room)
    phases = (footprint.generation, footprint.scoring, footprint.token_evaluation)
    assert max(phase(batch).peak for phase in phases) <= room
    assert max(phase(batch + batch // 20).peak for phase in phases) > room


def test_the_peak_is_that_of_the_worst_phase_with_all_that_is_held(plan, footprint):
    peaks = plan.peaks()
    assert set(peaks) == {
        "generation",
        "scoring",
        "token evaluation",
        "update",
        "held-out evaluation",
    }
    weights = sum(one.weights for one in footprint.holdings().values())
    # Two moments of each of the policy's numbers.
    assert plan.held == pytest.approx(weights + 2 * plan.holdings["policy"].weights, rel=0.001)
    assert peaks["scoring"] == plan.held + footprint.scoring(4).peak
    # Twice the batch of training.
    assert peaks["held-out evaluation"] == plan.held + footprint.token_evaluation(8).peak


def test_a_static_cache_stays(configure, plan):
    config = configure(response__cache="static")
    static = MemoryPlan(config, Footprint(config, CPU))
    cache = static.usage["generation"].kept
    assert cache > plan.usage["generation"].kept  # for the longest, rounded up
    # One of training, one of twice as many responses of the evaluation.
    assert static.peaks()["update"] - plan.peaks()["update"] == 3 * cache
    free = static.held + 8 * 2**20
    assert 0 < static.largest_batch(free) < plan.largest_batch(free)


def test_what_does_not_fit_is_said(plan):
    lines = list(describe_plan(plan, "cpu", plan.held))
    assert lines[-1].startswith("does not fit: weights and optimizer alone are ")
    evaluation = max(plan.peaks().values())
    *_, verdict, fits = describe_plan(plan, "cpu", evaluation - 1)
    assert verdict == "does not fit: lower evaluation.batch_size"
    assert fits.startswith("fits up to: batch_size ")


def test_what_is_not_counted_on_a_gpu_is_said(plan):
    lines = list(describe_plan(plan, "cuda", plan.held))
    assert any(line.startswith("not counted: ") for line in lines)


def test_a_phase_that_cannot_be_counted_is_said_and_no_peak(config, footprint, monkeypatch):
    def fails(self: Footprint, rows: int) -> None:
        raise RuntimeError("this kernel\nneeds numbers")

    monkeypatch.setattr(Footprint, "update", fails)
    _, policy, *_, reason, last = describe_plan(MemoryPlan(config, footprint), "cpu", 10**10)
    assert policy.split()[-3] == "?"
    assert reason == "update cannot be counted: RuntimeError: this kernel needs numbers"
    assert last.startswith("weights and optimizer: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy": "/no/such"}, "policy: must be a model folder"),
        ({"run__device": "cuda:99"}, "device: must be there"),
        ({"networks__lora": {"target_modules": ["x"]}}, "networks.lora.target_modules: must name"),
    ],
)
def test_what_cannot_be_told_is_said_with_the_reason(configure, settings, words):
    lines = list(describe_memory(configure(**settings)))
    assert " ".join(line.strip() for line in lines).startswith(f"memory: cannot be told: {words}")


def test_memory_is_free():
    assert 2**20 < free_memory(CPU) < 2**50
