"""Which tokens of what a reward model reads are the response's, and how its beginning is read."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from abcrl.config import RewardModelSettings
from abcrl.data import Example
from abcrl.dialogue import PromptText
from abcrl.models import (
    PromptedResponse,
    PromptedText,
    PromptWriter,
    RewardModel,
    TextReader,
    make_render,
    splice_responses,
)
from abcrl.supervised.reward.rows import (
    ReadRow,
    RowReader,
    pad_rows,
    score_by_length,
    score_rows,
    spaced,
    spread_of_credit,
)

EXAMPLES = [
    Example(" The plot was good.", prompt=PromptText("And the acting?")),
    Example(" It was not.", prompt=PromptText("Was it good? <|endoftext|>")),
    Example(" good <|endoftext|> plot", prompt=PromptText("plot")),
]
CHAT = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}<|endoftext|>{% endfor %}"
TEMPLATES = [None, "Q: {prompt}\nA:{response}", "Q: {prompt} A:{response} (end)", "chat"]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    tiny_tokenizer.chat_template = CHAT
    yield tiny_tokenizer
    tiny_tokenizer.chat_template = None


def settings(template: str | None) -> RewardModelSettings:
    return RewardModelSettings(template=template)


def read(tokenizer: Any, template: str | None, example: Example) -> Any:
    [row] = TextReader(tokenizer, template=template).read([example.prompt], [example.text])
    return row


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_places_are_those_of_the_response_with_its_eos(tokenizer, template, example):
    row = read(tokenizer, template, example)
    located = RowReader(tokenizer, settings(template)).locate(row, example.text)
    assert located.ids == row.ids
    found = [located.ids[place] for place in located.places]
    assert found == PromptWriter(tokenizer).response_ids(example.text)
    assert found[-1] == tokenizer.eos_token_id


def test_of_a_plain_text_they_are_all_but_bos(tokenizer):
    [row] = TextReader(tokenizer).read([None], ["The plot was good."])
    located = RowReader(tokenizer, settings(None)).locate(row, "The plot was good.")
    assert located.places == list(range(len(row.ids)))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_beginning_is_what_ppo_reads_of_a_response_at_its_cap(tokenizer, template, example):
    row = read(tokenizer, template, example)
    reader = RowReader(tokenizer, settings(template))
    response_ids = PromptWriter(tokenizer).response_ids(example.text)
    assert example.prompt is not None
    for tokens in range(1, len(response_ids)):
        cut = PromptedResponse([], response_ids[:tokens], example.prompt)
        if template is None:
            expected = [*row.ids[: row.start], *response_ids[:tokens]]
        else:
            render = make_render(template, tokenizer)
            ids, mask, _ = splice_responses(
                tokenizer, tokenizer, [cut], width=tokens, render=render
            )
            expected = ids[0][mask[0]].tolist()
        assert reader.begin(row, example, tokens) == expected
        # A chat template ends the turn of a response that did not end.
        assert len(expected) < len(row.ids) or template == "chat"
    for more in (len(response_ids), len(response_ids) + 5):
        assert reader.begin(row, example, more) == row.ids


def test_what_a_template_says_behind_a_response_stays_behind_its_beginning(tokenizer):
    template = "Q: {prompt} A:{response} (end)"
    row = read(tokenizer, template, EXAMPLES[0])
    ids = RowReader(tokenizer, settings(template)).begin(row, EXAMPLES[0], 3)
    text = tokenizer.decode(ids)
    assert text.endswith(" (end)")
    assert text.startswith("Q: And the acting? A:")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("example", EXAMPLES)
def test_without_eos_a_response_is_read_as_one_that_its_cap_cut(tokenizer, template, example):
    reader = RowReader(tokenizer, settings(template))
    row = read(tokenizer, template, example)
    tokens = len(PromptWriter(tokenizer).response_ids(example.text))
    ids = reader.without_eos(row, example)
    assert ids == reader.begin(row, example, tokens - 1)
    # A chat template ends a turn as a response ends: what it reads does not tell them apart.
    assert len(row.ids) - len(ids) == (0 if template == "chat" else 1)


def test_without_eos_a_plain_text_has_all_its_words(tokenizer):
    row = read(tokenizer, None, Example("good plot"))
    ids = RowReader(tokenizer, settings(None)).without_eos(row, Example("good plot"))
    assert tokenizer.decode(ids) == "good plot"
    # What is EOS alone has nothing that could be read without it.
    empty = PromptedText([tokenizer.eos_token_id], 0)
    assert RowReader(tokenizer, settings(None)).without_eos(empty, Example("")) == empty.ids


def test_scores_by_length_are_those_of_one_batch(tiny_classifier):
    model = RewardModel(tiny_classifier())
    generator = torch.Generator().manual_seed(0)
    lengths = [int(n) for n in torch.randint(1, 60, (150,), generator=generator)]
    rows = [torch.randint(2, 64, (n,), generator=generator).tolist() for n in lengths]
    scores, attention = score_rows(model, rows)
    assert attention is None
    assert scores.std() > 0.1
    assert_close(score_by_length(model, rows), scores, atol=1e-5, rtol=1e-5)


def test_credit_lies_on_the_places_alone(tiny_classifier, tokenizer):
    model = RewardModel(tiny_classifier(vocab_size=400))
    rows = [ReadRow([5, 9, 33, 2, 17, 40, 8], [2, 3, 6]), ReadRow([7, 7, 22], [1, 2])]
    causal = [[True, False, True], [False, True]]
    spread = spread_of_credit(model, rows, tokenizer, causal=causal)
    ids, mask = pad_rows([row.ids for row in rows])
    attention = model.score(ids, mask, with_attention=True).attention
    assert attention is not None
    first, second = attention[0, [2, 3, 6]], attention[1, [1, 2]]
    first, second = first / first.sum(), second / second.sum()
    assert spread.tokens == 2.5
    expected = float(first[0] + first[2] + second[1]) / 2
    assert spread.causal_share == pytest.approx(expected, rel=1e-5)
    assert spread.last_token_share == pytest.approx(float(first[2] + second[1]) / 2, rel=1e-5)
    assert spread_of_credit(model, rows, tokenizer).causal_share is None


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (3, 9, [0, 3, 6]),
        (2, 3, [0, 1]),
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 2, [0, 1]),
        (0, 4, []),
        (1000, 1500, None),
    ],
)
def test_positions_are_spread_over_all_of_them(count, total, expected):
    found = spaced(count, total)
    assert expected is None or found == expected
    assert len(set(found)) == min(count, total)
    assert found == sorted(found)
    if count and total > count:
        assert total - found[-1] <= 2 * total / count
