"""Sampling belongs to the prompt: not to the batch, the padding or the model's own options."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import GenerationConfig, PreTrainedModel, StaticCache

from abcrl.config import InputError, PpoSettings, ResponseConfig
from abcrl.data import Prompt
from abcrl.rl.sampling import sampler
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import InverseCdfProcessor, SharedDraws, sample_responses

BuildModel = Callable[..., PreTrainedModel]
EOS = 0


def sample(
    model: PreTrainedModel, prompts: Sequence[Prompt], config: ResponseConfig, *, seed: int = 3
) -> Responses:
    draws = SharedDraws(config, seed=seed, stream="response")
    return sample_responses(model, prompts, draws, config, eos_token_id=EOS)


def ids_of(responses: Responses) -> list[tuple[list[int], list[int]]]:
    return [responses.ids_of(row) for row in range(len(responses.sequences))]


def with_eos_logit(build: BuildModel, logit: float) -> PreTrainedModel:
    """Returns a model that prefers EOS, or never chooses it; phi's head has a bias."""
    model = build("phi")
    with torch.no_grad():
        model.get_parameter("lm_head.bias")[EOS] = logit
    return model


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "mistral"])
def test_a_response_does_not_depend_on_the_batch(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings, architecture
):
    model = tiny_causal_lm(architecture)
    together = ids_of(sample(model, prompts, settings.response))
    assert len({tuple(response) for _, response in together}) == 16

    for size in (1, 4):
        parts = [prompts[start : start + size] for start in range(0, 16, size)]
        apart = [ids for part in parts for ids in ids_of(sample(model, part, settings.response))]
        assert apart == together

    backwards = ids_of(sample(model, prompts[::-1], settings.response))
    assert backwards[::-1] == together


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "mistral", "qwen3", "gpt_neox"])
def test_a_static_cache_gives_the_same_responses_each_time_it_is_filled(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings, architecture
):
    model = tiny_causal_lm(architecture)
    static = settings.response.model_copy(update={"cache": "static"})
    caches: list[object] = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: caches.append(inputs["past_key_values"]), with_kwargs=True
    )

    for part in (prompts, prompts[::-1], prompts[:5]):
        expected = ids_of(sample(model, part, settings.response))
        caches.clear()
        assert ids_of(sample(model, part, static)) == expected
        assert all(isinstance(cache, StaticCache) for cache in caches)


@pytest.mark.parametrize(
    "architecture",
    ["gpt2", "llama", "opt", "mistral", "qwen3", "gpt_neox", "falcon", "bloom", "gptj", "gemma2"],
)
def test_sampling_is_what_the_whole_texts_logits_give(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings, architecture
):
    """Whatever cache is filled on the way."""
    model: Any = tiny_causal_lm(architecture)
    config = settings.response
    caps, uniforms = SharedDraws(config, seed=3, stream="response").draw(prompts)
    for row, (prompt, response) in enumerate(ids_of(sample(model, prompts, config))):
        assert len(response) == caps[row] or response[-1] == EOS
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        logits = logits / config.temperature
        logits[: config.min_new_tokens, EOS] = -torch.inf
        cdf = logits.double().softmax(-1).cumsum(-1)
        for token, u, steps in zip(response, uniforms[row].tolist(), cdf.tolist(), strict=False):
            below = steps[token - 1] if token else 0.0
            assert below - 1e-5 <= u <= steps[token] + 1e-5


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral"])
def test_a_model_saved_without_use_of_its_cache_uses_it_all_the_same(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings, architecture
):
    model = tiny_causal_lm(architecture)
    expected = ids_of(sample(model, prompts, settings.response))
    model.config.use_cache = False
    model.generation_config = GenerationConfig.from_model_config(model.config)

    assert ids_of(sample(model, prompts, settings.response)) == expected


def test_a_model_without_a_cache_samples_all_the_same_but_not_with_a_static_one(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    model = tiny_causal_lm("openai-gpt")
    assert len(ids_of(sample(model, prompts[:2], settings.response))) == 2
    static = settings.response.model_copy(update={"cache": "static"})
    with pytest.raises(InputError, match=r"^response\.cache: must be dynamic .*'openai-gpt'"):
        sample(model, prompts[:2], static)


@pytest.mark.slow  # half a minute of compilation
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses its own jit
def test_compiled_decoding_gives_the_same_responses(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    model = tiny_causal_lm()
    options = settings.response.model_dump() | {"cache": "static", "compile": True}
    compiled = sample(model, prompts, ResponseConfig.model_validate(options))

    assert ids_of(compiled) == ids_of(sample(model, prompts, settings.response))
    assert hasattr(model, "_compiled_call")


def test_prompts_come_back_as_they_were_given(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    responses = sample(tiny_causal_lm(), prompts, settings.response)

    assert responses.prompt_width == 7
    assert [tuple(prompt) for prompt, _ in ids_of(responses)] == [p.ids for p in prompts]
    # Left-padded prompts, right-padded responses.
    assert responses.attention_mask[:, 6].all()
    assert torch.equal(responses.attention_mask[:, 7:], responses.response_mask)
    assert (responses.response_mask.int().diff(dim=1) <= 0).all()


def test_what_fills_the_padding_is_never_read(
    monkeypatch, tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    model = tiny_causal_lm()
    expected = ids_of(sample(model, prompts, settings.response))
    original = sampler._left_padded
    monkeypatch.setattr(
        sampler,
        "_left_padded",
        lambda prompts, **options: original(prompts, **{**options, "fill": 37}),
    )
    assert ids_of(sample(model, prompts, settings.response)) == expected


def test_seed_stream_and_prompt_number_each_change_the_response(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    model, config = tiny_causal_lm(), settings.response
    expected = ids_of(sample(model, prompts, config))
    assert ids_of(sample(model, prompts, config)) == expected
    assert ids_of(sample(model, prompts, config, seed=4)) != expected
    renumbered = [Prompt(prompt.index + 16, prompt.ids) for prompt in prompts]
    assert ids_of(sample(model, renumbered, config)) != expected
    other = SharedDraws(config, seed=3, stream="evaluation")
    assert ids_of(sample_responses(model, prompts, other, config, eos_token_id=EOS)) != expected


def test_global_random_numbers_are_neither_used_nor_drawn(
    tiny_causal_lm: BuildModel, prompts: list[Prompt], settings: PpoSettings
):
    model = tiny_causal_lm()
    torch.manual_seed(0)
    first = ids_of(sample(model, prompts, settings.response))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert ids_of(sample(model, prompts, settings.response)) == first
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_eos_before_min_new_tokens_and_eos_is_the_last_token(
    tiny_causal_lm: BuildModel, prompts: list[Prompt]
):
    config = ResponseConfig(min_new_tokens=4, cap_low=6, cap_high=9)
    responses = sample(with_eos_logit(tiny_causal_lm, 100.0), prompts, config)

    # This model wants nothing but EOS: it comes right after the ban, and counts.
    assert responses.lengths.tolist() == [5] * 16
    for _, response in ids_of(responses):
        assert EOS not in response[:4]
        assert response[4] == EOS
    assert responses.ended(EOS).all()


def test_without_a_ban_eos_may_be_the_only_token(tiny_causal_lm: BuildModel, prompts: list[Prompt]):
    config = ResponseConfig(min_new_tokens=0, cap_low=6, cap_high=9)
    responses = sample(with_eos_logit(tiny_causal_lm, 100.0), prompts, config)
    assert [response for _, response in ids_of(responses)] == [[EOS]] * 16


def test_a_response_is_cut_at_its_own_cap(tiny_causal_lm: BuildModel, prompts: list[Prompt]):
    config = ResponseConfig(min_new_tokens=0, cap_low=3, cap_high=9)
    model = with_eos_logit(tiny_causal_lm, -100.0)
    caps, _ = SharedDraws(config, seed=3, stream="response").draw(prompts)
    assert len(set(caps.tolist())) > 3

    responses = sample(model, prompts, config)

    assert torch.equal(responses.lengths, caps)
    assert responses.response_width == caps.max()  # no token more than the longest row needs
    assert not responses.ended(EOS).any()
    # Cutting is all that a cap does.
    longer = ResponseConfig(min_new_tokens=0, cap_low=9, cap_high=9)
    for (_, short), (_, long) in zip(
        ids_of(responses), ids_of(sample(model, prompts, longer)), strict=True
    ):
        assert short == long[: len(short)]


def test_caps_and_uniforms_fill_their_ranges():
    config = ResponseConfig(min_new_tokens=0, cap_low=3, cap_high=5)
    many = [Prompt(index, (5,)) for index in range(3000)]
    caps, uniforms = SharedDraws(config, seed=0, stream="response").draw(many)

    counts = torch.bincount(caps, minlength=7).tolist()
    assert counts[:3] == [0, 0, 0]
    assert counts[6] == 0
    assert min(counts[3:6]) > 900  # both ends included: 1000 +- 4 standard deviations of 26
    assert uniforms.shape == (3000, 5)
    assert uniforms.dtype == torch.float32
    assert 0 <= uniforms.min() < 0.001
    assert 0.999 < uniforms.max() < 1
    assert_close(uniforms.mean(0), torch.full((5,), 0.5), atol=0.03, rtol=0)
    assert len(set(uniforms.flatten().tolist())) > 14_900


def drawn_tokens(
    logits: Tensor, uniforms: Tensor, config: ResponseConfig, *, position: int = 0
) -> Tensor:
    """Returns the one token that the processor leaves to each row."""
    rows = len(uniforms)
    # Every other position has a uniform that would draw the last token.
    of_all_positions = torch.full((rows, 8), 1 - 2**-24).double()
    of_all_positions[:, position] = uniforms
    processor = InverseCdfProcessor(of_all_positions, config, prompt_width=2, eos_token_id=EOS)
    written = torch.ones(rows, 2 + position, dtype=torch.long)
    processed = processor(written, logits.expand(rows, -1).clone())
    assert (processed == 0).sum(-1).eq(1).all()
    assert (processed == -torch.inf).sum(-1).eq(logits.shape[-1] - 1).all()
    return processed.argmax(-1)


LOGITS = torch.tensor([1.0, -2.0, 0.5, 3.0, -40.0, 2.0])
FREE = ResponseConfig(min_new_tokens=0, cap_low=8, cap_high=8, temperature=0.7)
BANNED = FREE.replace(min_new_tokens=4)


@pytest.mark.parametrize(("config", "position"), [(FREE, 0), (BANNED, 3), (BANNED, 4)])
def test_frequencies_are_the_probabilities(config: ResponseConfig, position):
    # Evenly spaced uniforms: each token is then drawn N * p times, to within one.
    N = 4000
    uniforms = (torch.arange(N).double() + 0.5) / N
    logits = LOGITS / 0.7
    if position < config.min_new_tokens:
        logits = logits.masked_fill(torch.arange(6) == EOS, -torch.inf)

    tokens = drawn_tokens(LOGITS, uniforms, config, position=position)

    counts = torch.bincount(tokens, minlength=6).double()
    assert ((counts - N * logits.double().softmax(-1)).abs() <= 1).all()


def test_frequencies_of_the_shared_draws_pass_a_chi_square_test():
    many = [Prompt(index, (5,)) for index in range(4000)]
    _, uniforms = SharedDraws(FREE, seed=1, stream="response").draw(many)
    expected = 4000 * (LOGITS / 0.7).double().softmax(-1)
    expected = torch.cat([expected[:4], expected[5:]])  # the fifth is never drawn
    for column in range(3):
        counts = torch.bincount(drawn_tokens(LOGITS, uniforms[:, column], FREE), minlength=6)
        assert counts[4] == 0
        counts = torch.cat([counts[:4], counts[5:]])
        statistic = ((counts - expected).square() / expected).sum()
        assert statistic < 18.5  # 99.9 % point of chi-square with 4 degrees of freedom


def test_uniforms_at_the_ends_never_draw_an_impossible_token():
    logits = torch.tensor([5.0, -torch.inf, 1.0, 2.0, -torch.inf, -torch.inf])
    ends = torch.tensor([0.0, 1 - 2**-24]).double()
    # Token 0 is banned and 1 impossible: the first possible one is 2, the last 3.
    assert drawn_tokens(logits, ends, BANNED).tolist() == [2, 3]
