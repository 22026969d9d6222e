"""Credit across tokenizers: every policy's tokenizer against every reward model's, on any text."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.densification import Evidence, Transferred, assign_credit, transfer
from abcrl.dialogue import PromptText
from abcrl.models import (
    DecodedResponse,
    PromptedResponse,
    RewardText,
    RewardTokens,
    byte_overlap,
    continue_prompt,
    decode_response,
    encode_plain,
    read_response,
    read_responses,
)
from tests.models.text.tokenizer_families import FAMILIES, KNOWN_TEXTS, TEXTS, ids_of, tokenizer_of

some = settings(max_examples=15)
every_pair = pytest.mark.parametrize(
    ("policy_family", "reward_family"), [(one, other) for one in FAMILIES for other in FAMILIES]
)


def plain_template(prompt: PromptText | str, response: str) -> RewardText:
    before = f"###Human: {prompt} ###Assistant: "
    return RewardText(f"{before}{response}\n", len(before), len(before) + len(response))


class Case(NamedTuple):
    """A response as both tokenizers see it, and attention on what the reward model read."""

    response_ids: list[int]
    response: DecodedResponse
    text: RewardText
    reading: RewardTokens
    attention: Tensor
    result: Transferred

    @property
    def overlap(self) -> Tensor:
        return byte_overlap(self.response, self.reading)


def case_of(
    reward: PreTrainedTokenizerBase,
    response_ids: list[int],
    response: DecodedResponse,
    text: RewardText,
    seed: int = 0,
) -> Case:
    reading = read_response(reward, text, response)
    generator = torch.Generator().manual_seed(seed)
    attention = torch.randn(1, len(reading.ids), generator=generator).softmax(-1)
    mask = torch.ones(1, len(response_ids), dtype=torch.bool)
    result = transfer(attention, byte_overlap(response, reading)[None], mask)
    return Case(response_ids, response, text, reading, attention[0], result)


@st.composite
def cases(draw: st.DrawFn, policy_family: str, reward_family: str) -> Case:
    policy, reward = tokenizer_of(policy_family), tokenizer_of(reward_family)
    prompt_ids = draw(ids_of(policy))
    response_ids = draw(ids_of(policy)) + draw(st.sampled_from([[], [policy.eos_token_id]]))
    assume(response_ids)
    response = decode_response(policy, prompt_ids, response_ids)
    render = draw(st.sampled_from([continue_prompt, plain_template]))
    text = render(response.prompt, response.text)
    if draw(st.booleans()):
        text = with_special_tokens(reward, text)
    return case_of(reward, response_ids, response, text, draw(st.integers(0, 99)))


def with_special_tokens(reward: PreTrainedTokenizerBase, text: RewardText) -> RewardText:
    """The same between BOS and EOS of the reward model, as a chat template writes them."""
    bos, eos = str(reward.bos_token), str(reward.eos_token)
    start, stop = text.start + len(bos), text.stop + len(bos)
    return RewardText(f"{bos}{text.text}{eos}", start, stop, rendered=True)


@every_pair
@some
@given(data=st.data())
def test_mass_is_kept_and_credit_is_never_negative(policy_family, reward_family, data):
    case = data.draw(cases(policy_family, reward_family))
    attention, dropped = case.result
    assert (attention >= 0).all()
    kept = attention.double().sum() + dropped[0].double() * case.attention.double().sum()
    assert abs(kept - case.attention.double().sum()) <= 1e-6
    weights = assign_credit("abc", Evidence(torch.ones_like(attention) > 0, attention)).weights
    assert (weights >= 0).all()
    assert abs(weights.double().sum() - 1) <= 1e-6


@every_pair
@some
@given(data=st.data())
def test_what_is_dropped_lies_outside_of_the_response(policy_family, reward_family, data):
    # By the library's offsets, in characters, not by our bytes: what lies inside of the response
    # arrives, what lies outside of it is dropped. Left open is what lies on the border.
    case = data.draw(cases(policy_family, reward_family))
    reward, text = tokenizer_of(reward_family), case.text
    words = reward(
        text.text,
        add_special_tokens=False,
        split_special_tokens=not text.rendered,
        return_offsets_mapping=True,
    )
    # Not where the response itself spells out special tokens: it is then read in parts.
    assume(words["input_ids"] == case.reading.ids[: len(words["input_ids"])])
    reaches = case.overlap.sum(1) > 0
    for index, (start, stop) in enumerate(words["offset_mapping"]):
        is_eos = index == case.reading.eos
        if stop <= text.start or (start >= text.stop and start < stop and not is_eos):
            assert not reaches[index]
        if text.start < start and stop <= text.stop:
            assert reaches[index]
    outside = case.attention[~reaches].sum()
    torch.testing.assert_close(case.result.dropped_share[0], outside, rtol=0, atol=1e-6)
    if case.reading.eos is not None:
        ends_in = case.overlap[case.reading.eos]
        assert ends_in.tolist() == [0] * (len(case.response_ids) - 1) + [1]


@every_pair
@some
@given(data=st.data())
def test_each_byte_of_the_response_is_shared_with_who_covers_it(policy_family, reward_family, data):
    # Counted in sixths of a byte: ids that share a replacement character have halves and thirds.
    case = data.draw(cases(policy_family, reward_family))
    owners = [
        j
        for j, (start, stop) in enumerate(pairwise(case.response.edges))
        for _ in range(round(6 * start), round(6 * stop))
    ]
    begin = round(6 * case.response.edges[0])
    for s, (start, stop) in enumerate(case.reading.spans):
        if start < stop and s != case.reading.eos:
            shared = Counter(owners[max(0, 6 * start - begin) : max(0, 6 * stop - begin)])
            expected = [shared[j] / 6 for j in range(len(case.response_ids))]
            torch.testing.assert_close(case.overlap[s], torch.tensor(expected))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60)
@given(data=st.data(), ends=st.booleans())
def test_one_tokenizer_on_both_sides_is_the_plain_cut(family, data, ends):
    tokenizer = tokenizer_of(family)
    # Words that it has not seen are lost on the way for a tokenizer without bytes.
    texts = KNOWN_TEXTS if family in {"wordpiece", "unigram", "t5"} else TEXTS
    prompt_ids, response_ids = (encode_plain(tokenizer, data.draw(texts)) for _ in range(2))
    response_ids += [tokenizer.eos_token_id] if ends else []
    assume(response_ids)
    response = decode_response(tokenizer, prompt_ids, response_ids)
    # What has no text, such as the space that a text seems to begin with, cannot be found by it.
    assume(
        all(start < stop for start, stop in pairwise(response.edges[: len(response_ids) - ends]))
    )
    text = continue_prompt(response.prompt, response.text)
    case = case_of(tokenizer, response_ids, response, text)
    # Where the tokenizer gives back the ids of a text that it has decoded, and only there, is
    # there a plain cut to compare with.
    assume(case.reading.ids == prompt_ids + response_ids)
    cut = case.attention[len(prompt_ids) :]
    assert torch.equal(case.result.attention[0], cut)
    torch.testing.assert_close(case.result.dropped_share[0], 1 - cut.sum(), rtol=0, atol=1e-6)


@every_pair
def test_a_batch_gives_what_its_rows_give(policy_family, reward_family):
    policy, reward = tokenizer_of(policy_family), tokenizer_of(reward_family)
    words = [("The plot", " was good 🙂 中文."), ("", "Das Stück"), ("a", " ")]
    rows = [(encode_plain(policy, one), encode_plain(policy, other)) for one, other in words]
    rows[0][1].append(policy.eos_token_id)
    rows = [row for row in rows if row[1]]
    width = max(len(response_ids) for _, response_ids in rows) + 2
    prompted = [PromptedResponse(*row) for row in rows]
    inputs = read_responses(policy, reward, prompted, width=width, render=plain_template)
    mask = torch.arange(width) < torch.tensor([[len(row[1])] for row in rows])
    attention = torch.randn(inputs.input_ids.shape).masked_fill(~inputs.attention_mask, -1e9)
    batch = transfer(attention.softmax(-1), inputs.overlap, mask)
    for b, row in enumerate(rows):
        response = decode_response(policy, *row)
        reading = read_response(reward, plain_template(response.prompt, response.text), response)
        read_attention = attention[b : b + 1, : len(reading.ids)].softmax(-1)
        overlap = byte_overlap(response, reading)[None]
        alone = transfer(read_attention, overlap, mask[b : b + 1, : len(row[1])])
        torch.testing.assert_close(
            batch.attention[b, : len(row[1])], alone.attention[0], rtol=0, atol=1e-6
        )
        assert batch.attention[b, len(row[1]) :].sum() == 0
        torch.testing.assert_close(
            batch.dropped_share[b], alone.dropped_share[0], rtol=0, atol=1e-6
        )
