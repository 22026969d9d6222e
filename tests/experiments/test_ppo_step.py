"""The benchmark of a PPO step: its arithmetic can be counted by hand, and its steps are real."""

import json
import random
import sys
from argparse import Namespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

SIZES = ["--layers", 1, "--heads", 2, "--width", 8, "--vocabulary", 64, "--batch", 4]


@pytest.fixture(scope="module")
def bench(load_script):
    """All modules of the benchmark that run in this environment."""
    names = ("arithmetic", "ppo_step", "ppo_tables", "ppo_workload")
    return Namespace(**{name: load_script("benchmarks", name) for name in names})


@pytest.fixture(scope="module")
def shape(bench):
    return bench.ppo_workload.Shape(layers=1, width=2, heads=1, vocabulary=3, context=8)


def test_work_is_that_counted_by_hand(bench, shape):
    batch = bench.ppo_workload.Batch(0, prompts=[[1, 2]], lengths=[3])
    work = bench.arithmetic.step_work(batch, shape, mini_batch=1, parameters=10)
    # A layer of n tokens: 2 n * 12 d^2 = 96 n for the weights, 4 d * n (n + 1) / 2 for attention;
    # a logit of 3 words: 2 d * 3 = 12.
    whole, without_last = 96 * 5 + 8 * 15, 96 * 4 + 8 * 10
    assert work["generate"].operations == without_last + 3 * 12
    assert work["score"].operations == 3 * whole + 2 * 3 * 12
    assert work["update"].operations == 4 * 3 * (whole + 3 * 12)
    # Four epochs of one mini-batch: 28 bytes of Adam and 4 of the gradient per parameter.
    assert [phase.traffic for phase in work.values()] == [0, 0, 4 * 10 * 32]
    # Tokens of one product, to the nearest power of two.
    assert [phase.rows for phase in work.values()] == [1, 4, 4]


def test_larger_mini_batches_save_adam_steps_and_no_product(bench, shape):
    batch = bench.ppo_workload.Batch(0, prompts=[[1, 2]] * 4, lengths=[3] * 4)
    one, four = (
        bench.arithmetic.step_work(batch, shape, mini_batch=size, parameters=10)["update"]
        for size in (1, 4)
    )
    assert one.operations == four.operations
    assert one.traffic == 4 * four.traffic
    assert 4 * one.rows == four.rows


def test_operations_are_those_that_torch_counts(bench):
    P, R = 3, 5
    T = P + R
    shape = bench.ppo_workload.Shape(layers=2, width=16, heads=2, vocabulary=32, context=T)
    config = GPT2Config(vocab_size=32, n_layer=2, n_embd=16, n_head=2, n_positions=T)
    config.bos_token_id = config.eos_token_id = 0
    config._attn_implementation = "eager"  # sdpa is not counted on a CPU
    model = GPT2LMHeadModel(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, T, dtype=torch.long), logits_to_keep=R)
    batch = bench.ppo_workload.Batch(0, prompts=[[0] * P], lengths=[R])
    update = bench.arithmetic.step_work(batch, shape, mini_batch=1, parameters=0)["update"]
    # Torch counts attention to later tokens too, though no causal kernel need compute it.
    ahead = 2 * 4 * 16 * (T**2 - T * (T + 1) / 2)
    assert update.operations / 12 == counter.get_total_flops() - ahead


def test_the_bound_adds_products_and_traffic(bench, shape):
    rates = bench.arithmetic.Rates("cpu", shape, parameters=1000)
    rates.samples = {1024: [1e9, 3e9, 2e9], (5,): [1e9], "memory": [4e9]}
    work = bench.arithmetic.Work(operations=4e9, traffic=2e9, rows=5)
    assert rates.bound(work) == 4 / 2 + 2 / 4
    assert rates.own_bound(work) == 4 / 1 + 2 / 4


def test_rates_are_measured_for_every_size_that_is_asked_for(bench, shape):
    rates = bench.arithmetic.Rates("cpu", shape, parameters=1000)
    rates.measure([3, 7, 3])
    assert set(rates.samples) == {1024, (3,), (7,), "memory"}
    assert all(rate > 0 for samples in rates.samples.values() for rate in samples)


def test_ids_survive_being_decoded_and_read_again(bench, tmp_path):
    shape = bench.ppo_workload.Shape(layers=1, width=8, heads=2, vocabulary=4096, context=32)
    bench.ppo_workload.write_networks(tmp_path, shape)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    ids = random.Random(0).choices(range(4096), k=500)
    assert tokenizer(tokenizer.decode(ids), truncation=False).input_ids == ids


def test_a_batch_is_the_same_for_every_side(bench):
    span = bench.ppo_workload.Span(8, 15)
    batches = [
        bench.ppo_workload.make_batch(number, span, size=64, vocabulary=100) for number in (1, 1, 2)
    ]
    assert batches[0] == batches[1] != batches[2]
    assert {len(ids) for ids in batches[0].prompts} == set(range(2, 8))
    assert set(batches[0].lengths) == set(range(8, 16))
    assert batches[0].tokens == sum(batches[0].lengths)


@pytest.fixture(scope="module")
def steps(bench, tmp_path_factory):
    """What is written of two real steps in a process of their own."""
    file = tmp_path_factory.mktemp("steps") / "steps.json"
    options = [*SIZES, "--lengths", "3-5", "--mini-batches", 2, "--repeats", 2]
    options += ["--device", "cpu", "--json", file]
    bench.ppo_step.main([str(option) for option in options])
    return json.loads(file.read_text())


def test_every_turn_runs_a_whole_step(bench, steps):
    [measured] = steps["steps"]
    assert measured["span"] == [3, 5]
    assert measured["side"] == "2"
    span = bench.ppo_workload.Span(3, 5)
    for turn, answer in enumerate(measured["answers"], start=1):
        batch = bench.ppo_workload.make_batch(turn, span, size=4, vocabulary=64)
        # EOS may come between the third and the fifth token.
        assert 4 * 3 <= answer["tokens"] <= batch.tokens
        assert all(answer[phase] > 0 for phase in bench.ppo_tables.PHASES)
    assert len(measured["answers"]) == len(measured["works"]) == 2


def test_the_tables_show_medians_bounds_and_ratios(bench, shape):
    tables, arithmetic = bench.ppo_tables, bench.arithmetic
    span = bench.ppo_workload.Span(8, 15)
    rates = arithmetic.Rates("cpu", shape, 1000, {1024: [1e9], (5,): [0.5e9], "memory": [1e9]})
    works = [{name: arithmetic.Work(1e9, rows=5) for name in tables.PHASES}] * 3

    def measured(side: str, seconds: list[float], works: list[dict[str, Any]]) -> Any:
        answers = [
            {"generate": s, "score": s, "update": 2 * s, "tokens": 40, "peak": 2**20}
            for s in seconds
        ]
        return tables.Measured(span, side, answers, works)

    ours, theirs = measured("1", [2.0, 1.0, 4.0], works), measured("paper", [4.0, 6.0, 8.0], [])
    lines = tables.step_table([ours], rates).splitlines()[-4:]
    # Bound: 1 s a phase, 3 a step; at the networks' own sizes 2 and 6.
    assert [line.split() for line in lines] == [
        ["8-15", "1", "generate", "2.000", "20", "1.000", "2.00", "2.000", "1.00"],
        ["score", "2.000", "20", "1.000", "2.00", "2.000", "1.00"],
        ["update", "4.000", "10", "1.000", "4.00", "2.000", "2.00"],
        ["step", "8.000", "5", "3.000", "2.67", "6.000", "1.33", "1"],
    ]
    # Ratio of medians 24 / 8; turn by turn 2, 6 and 2.
    line = tables.paper_table([ours, theirs]).splitlines()[-1]
    seconds = ["6.00", "6.00", "12.00", "24.00"]
    assert line.split() == ["8-15", *seconds, "1", "8.00", "3.00", "(2.00-4.00)"]


def test_a_side_that_ends_is_told_with_its_reason(bench):
    command = [sys.executable, "-c", "raise SystemExit('no networks here')"]
    with pytest.raises(SystemExit, match="no networks here"):
        bench.ppo_step.Side(command, {"threads": 1, "device": "cpu"})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--repeats", "1"], "--repeats"),
        (["--lengths", "15-8"], "--lengths"),
        (["--lengths", "long"], "--lengths"),
        (["--width", "30", "--heads", "4"], "--width"),
        (["--vocabulary", "5000"], "--vocabulary"),
        (["--mini-batches", "3"], "--mini-batches"),
        (["--paper", "clone"], "--paper-python"),
        (["--paper", "no/clone", "--paper-python", "python"], "--paper"),
        (["--json", "no/such/folder/steps.json"], "--json"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options, named, bench, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.ppo_step.main(options)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
