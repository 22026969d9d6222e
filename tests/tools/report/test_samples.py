import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from abcrl.tools.report.sample_rows import CellSamples
from abcrl.tools.report.samples import Locator, Sample, Token, choose_samples
from tests.tools.report.reported import sample_row


@pytest.fixture
def locator(tiny_tokenizer, tmp_path) -> Locator:
    tiny_tokenizer.save_pretrained(tmp_path / "policy")
    return Locator([tmp_path / "absent", tmp_path, tmp_path / "policy"])


def cells(tokenizer: Any, *, seeds: int = 2, arms: int = 2) -> Sequence[CellSamples]:
    first, last = ([sample_row(tokenizer, step, n) for n in range(2)] for step in (0, 4))
    return [CellSamples(arm, seed, first, last) for seed in range(seeds) for arm in range(arms)]


def test_tokens_joined_are_the_response_each_with_its_own_numbers(locator, tiny_tokenizer):
    row = sample_row(tiny_tokenizer, 3, 0)
    tokens = locator.cut(row)
    assert "".join(token.text for token in tokens) == row["response"]
    assert [token.credit for token in tokens] == row["credit"]
    assert [token.score for token in tokens] == row["token_scores"]
    assert not any(token.ends for token in tokens)
    assert "ö" in {token.text for token in tokens}  # two bytes, two tokens: the first one's
    assert "" in {token.text for token in tokens}


def test_an_end_of_text_is_a_token_without_letters(locator, tiny_tokenizer):
    row = sample_row(tiny_tokenizer, 3, 0)
    row["response_ids"] = [*row["response_ids"], tiny_tokenizer.eos_token_id]
    for name in ("credit", "token_scores"):
        row[name] = [*row[name], 0.0]
    assert locator.cut(row)[-1] == Token("", 0.0, 0.0, ends=True)


def test_without_a_tokenizer_responses_stand_whole(tiny_tokenizer, tmp_path):
    locator = Locator([tmp_path / "absent", tmp_path])
    assert not locator.ready
    found = choose_samples(cells(tiny_tokenizer), locator)
    assert not found.located
    sample = found.groups[0].samples[0]
    assert (sample.tokens, sample.response) == ((), " The acting was gööd at step 0.")


def test_groups_hold_all_arms_of_a_prompt_seed_by_seed(locator, tiny_tokenizer):
    found = choose_samples(cells(tiny_tokenizer), locator)
    assert [(one.seed, one.prompt_index, one.when) for one in found.groups] == [
        (seed, prompt, when) for seed in (0, 1) for prompt in (0, 1) for when in ("first", "last")
    ]
    assert all([one.arm for one in group.samples] == [0, 1] for group in found.groups)
    assert (found.shown, found.of, found.located) == (16, 16, True)


def test_what_does_not_fit_is_left_out_whole_and_counted(locator, tiny_tokenizer):
    many = cells(tiny_tokenizer, seeds=6)
    half = choose_samples(many, locator, most_bytes=45_000)
    assert 0 < half.shown < half.of == 48
    assert half.shown % 4 == 0
    assert {group.when for group in half.groups} == {"first", "last"}
    none = choose_samples(many, locator, most_bytes=0)
    assert (none.groups, none.shown, none.of, none.last_step) == ((), 0, 48, 4)


def test_a_long_response_is_cut_and_says_so(locator, tiny_tokenizer):
    row = sample_row(tiny_tokenizer, 0, 0)
    many = 900
    for name in ("response_ids", "credit", "token_scores"):
        row[name] = row[name] * many
    row["prompt"] = "p" * 10_000
    found = choose_samples([CellSamples(0, 0, [row], [row])], locator)
    sample = found.groups[0].samples[0]
    assert len(sample.tokens) == 8_000
    assert sample.left_out == len(row["credit"]) - 8_000
    assert sample.length == len(row["credit"])
    assert sample.largest == max(row["token_scores"])
    assert found.groups[0].prompt.startswith("[... 6,000 characters ...]ppp")


def test_samples_of_the_first_and_last_evaluation_are_read(tiny_tokenizer, tmp_path):
    rows = [sample_row(tiny_tokenizer, step, n) for step in (0, 2, 4) for n in (0, 1)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "samples.jsonl").write_text(lines, encoding="utf-8")
    found = CellSamples.read(1, 7, tmp_path)
    assert [row["step"] for row in [*found.first, *found.last]] == [0, 0, 4, 4]
    assert found.credits == [row["credit"] for row in rows[-2:]]
    assert CellSamples.read(0, 0, Path("absent")) == CellSamples(0, 0, [], [])


def test_the_shade_of_credit_is_held_against_an_even_share():
    # Four tokens: an even share is 1/4, full colour 5/4 of all credit.
    tokens = tuple(Token("x", credit, score) for credit, score in [(0.25, 1.0), (1.5, -2.0)] * 2)
    sample = Sample(0, 0, 1.0, "xxxx", tokens, largest=2.0)
    assert [sample.credit_shade(one) for one in tokens[:2]] == pytest.approx([0.2, 1.0])
    assert [sample.score_shade(one) for one in tokens[:2]] == [0.5, -1.0]
    half = Sample(0, 0, 1.0, "xxxx", tokens[:2], left_out=2, largest=4.0)
    assert [half.score_shade(one) for one in tokens[:2]] == [0.25, -0.5]
    assert half.credit_shade(tokens[0]) == pytest.approx(0.2)
    silent = Sample(0, 0, 0.0, "x", (Token("x", 1.0, 0.0),))
    assert silent.score_shade(silent.tokens[0]) == 0.0
