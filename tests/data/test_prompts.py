"""Prompts: number n is the same prompt however it is reached."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import InputError, PromptConfig
from abcrl.data import (
    Example,
    GivenPrompts,
    Prompt,
    PromptSource,
    TextBeginnings,
    count_prompts,
    require_two_heldout,
)
from abcrl.dialogue import PromptText

# Twelve texts of 30 to 41 different characters; ids are the characters' numbers.
TEXTS = [Example("".join(chr(200 * row + k) for k in range(1, 31 + row))) for row in range(1, 13)]


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def encode_all(texts: list[str]) -> list[list[int]]:
    return [encode(text) for text in texts]


def source(
    texts: list[Example] = TEXTS,
    *,
    shortest: int = 2,
    longest: int = 5,
    min_characters: int = 10,
    prefix: tuple[int, ...] = (),
    seed: int = 0,
    stream: str = "prompts",
) -> PromptSource:
    config = PromptConfig(min_tokens=shortest, max_tokens=longest, min_characters=min_characters)
    pool = TextBeginnings(texts, encode_all, config, prefix=prefix)
    return PromptSource(pool, seed=seed, stream=stream)


def text_of(prompt: Prompt) -> int:
    return prompt.ids[0] // 200 - 1


@given(start=st.integers(0, 60), count=st.integers(0, 30), before=st.integers(0, 60))
def test_a_prompt_does_not_depend_on_how_it_is_taken(start, count, before):
    expected = source().take(0, 90)
    used = source()
    used.take(before, 3)  # whatever was taken before
    assert used.take(start, count) == expected[start : start + count]
    assert [used.take(index, 1)[0] for index in (start, 0, start)] == [
        expected[start],
        expected[0],
        expected[start],
    ]


def test_a_prompt_is_the_beginning_of_a_text_and_knows_its_number():
    prompts = source().take(7, 40)
    assert [prompt.index for prompt in prompts] == list(range(7, 47))
    for prompt in prompts:
        assert list(prompt.ids) == encode(TEXTS[text_of(prompt)].text)[: len(prompt.ids)]


def test_each_epoch_is_another_permutation_of_the_texts():
    prompts = source().take(0, 5 * 12)
    epochs = [
        tuple(map(text_of, prompts[start : start + 12])) for start in range(0, len(prompts), 12)
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len(set(epochs)) == 5


def test_lengths_fill_the_range_with_both_ends():
    lengths = [len(prompt.ids) for prompt in source(shortest=2, longest=5).take(0, 2000)]
    assert set(lengths) == {2, 3, 4, 5}
    assert all(430 < lengths.count(length) < 570 for length in (2, 3, 4, 5))
    # One text is cut to different lengths in different epochs.
    again = {len(p.ids) for p in source().take(0, 1200) if text_of(p) == 3}
    assert again == {2, 3, 4, 5}
    assert {len(p.ids) for p in source(shortest=3, longest=3).take(0, 50)} == {3}


def test_the_prefix_begins_every_prompt_and_does_not_count():
    plain, prefixed = source().take(0, 30), source(prefix=(7, 8)).take(0, 30)
    for without, with_prefix in zip(plain, prefixed, strict=True):
        assert with_prefix.ids == (7, 8, *without.ids)


def test_seed_and_stream_each_give_other_prompts():
    sets = [
        tuple(prompt.ids for prompt in prompts.take(0, 24))
        for prompts in (source(), source(seed=1), source(stream="validation"))
    ]
    assert all(first != second for first, second in itertools.combinations(sets, 2))


def test_only_texts_longer_than_the_minimum_give_prompts():
    chosen = source(min_characters=35).take(0, 60)  # texts have 31 .. 42 - 1 characters
    long_enough = {row for row, example in enumerate(TEXTS) if len(example.text) > 35}
    assert 0 < len(long_enough) < 12
    assert {text_of(prompt) for prompt in chosen} == long_enough


def test_no_text_long_enough_is_refused():
    with pytest.raises(InputError, match=r"prompt.min_characters: .*none of 12 is") as refused:
        source(min_characters=500)
    assert len(str(refused.value).splitlines()) == 1


def test_no_texts_at_all_are_refused():
    with pytest.raises(InputError, match="none of 0 is"):
        source([])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_held_out_texts_are_refused(count):
    with pytest.raises(InputError) as refused:
        require_two_heldout(count)
    assert str(refused.value) == (
        "data.validation_fraction: must leave at least two held-out texts that give a prompt, "
        f"received {count}; give more texts or a larger fraction"
    )
    require_two_heldout(2)


def test_texts_of_too_few_tokens_give_no_prompt():
    def words(texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]

    texts = [Example(text) for text in ("one two three", "one two", "\x00", "onetwothree", "")]
    config = PromptConfig(min_tokens=2, max_tokens=3, min_characters=0)
    pool = TextBeginnings(texts, words, config)
    assert len(pool) == 2
    assert {prompt.ids[:2] for prompt in PromptSource(pool, seed=0, stream="s").take(0, 20)} == {
        (3, 3)
    }
    with pytest.raises(InputError, match=r"^prompt.min_tokens: some text must have at least 4"):
        TextBeginnings(texts, words, config.replace(min_tokens=4, max_tokens=4))


def test_long_texts_are_not_encoded_before_they_are_drawn():
    asked = []

    def counting(texts: list[str]) -> list[list[int]]:
        asked.extend(texts)
        return encode_all(texts)

    texts = [Example("short text"), *(Example(f"{number}" + "x" * 300) for number in range(50))]
    config = PromptConfig(min_tokens=2, max_tokens=3, min_characters=0)
    pool = TextBeginnings(texts, counting, config)
    assert asked == ["short text"]
    PromptSource(pool, seed=0, stream="s").take(0, 5)
    assert len(asked) == 6


ASKED = [Example("yes", prompt=PromptText("a" * length)) for length in (1, 3, 5, 3, 9)]


def write(prompts: list[PromptText]) -> list[list[int]]:
    return [[7, *encode(prompt.text or "")] for prompt in prompts]


def test_given_prompts_come_whole_and_each_once():
    pool = GivenPrompts(ASKED, write, PromptConfig(max_tokens=6))
    assert (len(pool), pool.left_out) == (3, 1)  # the one of 10 ids with what stands around it
    prompts = PromptSource(pool, seed=0, stream="prompts").take(0, 6)
    assert sorted(len(prompt.ids) for prompt in prompts) == [2, 2, 4, 4, 6, 6]
    assert all(prompt.said is not None for prompt in prompts)
    assert {prompt.ids[0] for prompt in prompts} == {7}
    assert [prompt.index for prompt in prompts] == [0, 1, 2, 3, 4, 5]


def test_a_prompt_without_tokens_is_left_out():
    pool = GivenPrompts(ASKED, lambda prompts: [[]] + [[1]] * (len(prompts) - 1), PromptConfig())
    assert (len(pool), pool.left_out) == (3, 1)


def test_no_given_prompt_short_enough_is_refused():
    with pytest.raises(
        InputError, match=r"^prompt\.max_tokens: some prompt .* none of 4 has; raise"
    ):
        GivenPrompts(ASKED, write, PromptConfig(min_tokens=1, max_tokens=1))


def test_prompts_are_counted_without_a_tokenizer():
    assert count_prompts(ASKED, PromptConfig()) == 4
    assert count_prompts(TEXTS, PromptConfig(min_characters=35)) == 7
