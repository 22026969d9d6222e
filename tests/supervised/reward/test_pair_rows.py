"""What train-rm makes of pairs: the tokens of both sides, cut alike, and what it leaves out."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from abcrl.config import InputError, TrainRmConfig
from abcrl.data import Pair
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter
from tests.models.text.tokenizer_families import wordpiece
from tests.supervised.reward.pairs import PAIRS, batch_of, objective, run_on_pairs

Configure = Callable[..., TrainRmConfig]


@pytest.fixture
def configure(tiny_runs, tmp_path) -> Configure:
    """configure(pairs=PAIRS, **changes): a run on pairs, from the SFT model."""
    return partial(run_on_pairs, tiny_runs, tmp_path)


def test_a_pair_is_a_prompt_and_two_responses_that_end(configure: Configure, tiny_tokenizer):
    pairs = objective(configure(), tiny_tokenizer)
    eos = tiny_tokenizer.eos_token_id
    for number, pair in enumerate(pairs._texts.pairs):
        assert pair.prompt is not None
        row = pairs.dataset[number]
        for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            assert row[side][-1] == eos
            assert row[side].count(eos) == 1
            assert tiny_tokenizer.decode(row[side][:-1]) == f"{pair.prompt.text}{text}"


@pytest.mark.parametrize("template", [None, "Q: {prompt} A:{response} (end)"])
def test_both_sides_of_a_pair_are_cut_to_as_many_tokens_and_the_prompt_is_not(
    configure: Configure, tiny_tokenizer, template
):
    cut = {"truncation__share": 0.5, "truncation__min_tokens": 22, "truncation__max_tokens": 25}
    whole = objective(configure(template=template), tiny_tokenizer)
    pairs = objective(configure(template=template, **cut), tiny_tokenizer)
    after = [] if template is None else tiny_tokenizer(" (end)").input_ids
    writer = PromptWriter(tiny_tokenizer)
    kept, sizes, ended = 0, set(), 0
    for number, pair in enumerate(pairs._texts.pairs):
        row, uncut = pairs.dataset[number], whole.dataset[number]
        if (row["chosen"], row["rejected"]) == (uncut["chosen"], uncut["rejected"]):
            kept += 1
            continue
        lengths = []
        for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            response = writer.response_ids(text)
            start = pairs._texts[number][side == "rejected"].start
            assert row[side][:start] == uncut[side][:start]
            ids = row[side][start:]
            if ids == uncut[side][start:]:  # shorter than the cut: whole, EOS and all
                ended += 1
                assert len(response) <= 25
                continue
            ids = ids[: len(ids) - len(after)]
            assert tiny_tokenizer.eos_token_id not in ids
            assert ids == response[: len(ids)]
            lengths.append(len(ids))
        assert len(set(lengths)) == 1
        sizes.add(lengths[0])
    assert sizes == {22, 23, 24, 25}
    assert ended
    assert 0.35 < 1 - kept / len(pairs.dataset) < 0.65
    # Drawn for each pair once, whenever it is asked for.
    assert pairs.dataset[0] == pairs.dataset[0]


def test_a_pair_that_would_be_cut_to_the_same_tokens_stays_whole(
    configure: Configure, tiny_tokenizer
):
    cut = {"truncation__share": 1.0, "truncation__min_tokens": 2, "truncation__max_tokens": 2}
    config = configure(**cut)
    start = tiny_tokenizer(" It was").input_ids
    assert len(start) >= 2  # both sides of every pair begin alike
    whole, pairs = objective(configure(), tiny_tokenizer), objective(config, tiny_tokenizer)
    for number in range(len(pairs.dataset)):
        assert pairs.dataset[number] == whole.dataset[number]


def test_a_batch_holds_all_chosen_sides_before_all_rejected_ones(
    configure: Configure, tiny_tokenizer
):
    pairs = objective(configure(), tiny_tokenizer)
    batch = batch_of(pairs, range(3))
    rows = [pairs.dataset[number] for number in range(3)]
    sides = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    for ids, mask, side in zip(batch["input_ids"], batch["attention_mask"], sides, strict=True):
        assert ids[mask.bool()].tolist() == side
    assert batch["margin"].shape == (3,)


def test_a_column_of_margins_takes_the_place_of_the_margin(configure: Configure, tiny_tokenizer):
    config = configure()
    file = Path(config.data.source)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row | {"gap": n / 10}) + "\n" for n, row in enumerate(rows)))
    named = config.replace(
        data=config.data.replace(columns=config.data.columns.replace(margin="gap"))
    )
    pairs = objective(named, tiny_tokenizer)
    expected = [pair.margin for pair in pairs._texts.pairs]
    margins = batch_of(pairs, range(len(expected)))["margin"]
    assert_close(margins, torch.tensor(expected))
    assert len(set(margins.tolist())) > 20


def test_pairs_without_a_difference_to_the_model_are_left_out_and_told(configure: Configure):
    tokenizer = wordpiece()  # all lower case
    film = PAIRS[0].prompt
    alike = [Pair(film, f"GOOD {n} acting", f"good {n} acting") for n in range(40)]
    told: list[str] = []
    pairs = objective(configure([*PAIRS, *alike]), tokenizer, told)
    assert len(pairs.dataset) < len(PAIRS)
    assert all(row["chosen"] != row["rejected"] for row in map(pairs.dataset.__getitem__, range(9)))
    [line] = [line for line in told if "same tokens" in line]
    assert "pairs left out" in line


def test_pairs_that_are_too_long_are_left_out_and_not_cut(configure: Configure, tiny_tokenizer):
    long = [Pair(PromptText(f"Why {n}?"), " Good" + " and so" * 99, " Bad") for n in range(40)]
    told: list[str] = []
    pairs = objective(configure([*PAIRS, *long]), tiny_tokenizer, told)
    assert len(pairs.dataset) < len(PAIRS)
    lengths = [len(pairs.dataset[n]["chosen"]) for n in range(len(pairs.dataset))]
    assert max(lengths) <= 80
    beginnings = [line[:14] for line in told if line.endswith("(training.max_length)")]
    assert [each.split(":")[0] for each in beginnings] == ["data", "held-out data"]
    with pytest.raises(InputError, match=r"^training\.max_length: "):
        objective(configure(long), tiny_tokenizer)
