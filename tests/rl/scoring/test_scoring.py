"""What the reward model says of responses, in the policy's tokens and in its own."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from abcrl.config import InputError, PpoSettings, RunFailedError
from abcrl.data import Prompt
from abcrl.models import (
    PromptedResponse,
    continue_prompt,
    encode_plain,
    make_render,
    read_responses,
    splice_responses,
)
from abcrl.rl.actors import Actors
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.scoring.scorer import Scorer, UnreadableIds
from tests.models.text.tokenizer_families import tokenizer_of
from tests.rl.rollouts import sample

MakeActors = Callable[..., Actors]
EOS = 0
BuildModel = Callable[..., PreTrainedModel]
ATTENTION = frozenset({"reward_attention"})
PREFIXES = frozenset({"prefix_scores"})


def eagerly(actors: Actors, ids: list[int]) -> tuple[Tensor, Tensor]:
    """Returns score and last attention row of one unpadded sequence, from the model's own pass."""
    eager: Any = copy.deepcopy(actors.scorer.reward_model.model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        backbone = eager.base_model(torch.tensor([ids]), output_attentions=True)
        logits = eager.score(backbone.last_hidden_state)[0, -1]
    return logits[1] - logits[0], backbone.attentions[-1][0].mean(0)[-1]


def test_attention_is_the_scored_tokens_and_covers_the_response(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    scored = actors.scorer.score(responses, ATTENTION)
    assert scored.reward_attention is not None
    assert scored.dropped_share is not None
    assert scored.prefix_scores is None
    for row in range(16):
        prompt, response = responses.ids_of(row)
        score, attention = eagerly(actors, prompt + response)
        on_response = attention[len(prompt) :]
        assert_close(scored.scores[row], score, atol=1e-5, rtol=0)
        assert_close(scored.reward_attention[row, : len(response)], on_response, atol=1e-6, rtol=0)
        assert (scored.reward_attention[row, len(response) :] == 0).all()
        assert_close(scored.dropped_share[row], 1 - on_response.sum(), atol=1e-6, rtol=0)


def test_nothing_is_captured_unless_it_is_wanted(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    alone = actors.scorer.score(responses)
    assert all(part is None for part in alone[1:])
    assert torch.equal(actors.scorer.score(responses, ATTENTION).scores, alone.scores)


def test_prefix_scores_are_those_of_shorter_texts(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    scored = actors.scorer.score(responses, PREFIXES)
    assert scored.prefix_scores is not None
    assert scored.prefix_scores.shape == (16, responses.response_width + 1)
    for row in range(0, 16, 5):
        prompt, response = responses.ids_of(row)
        for count in range(len(response) + 1):
            score, _ = eagerly(actors, prompt + response[:count])
            assert_close(scored.prefix_scores[row, count], score, atol=1e-5, rtol=0)
        assert_close(scored.prefix_scores[row, len(response)], scored.scores[row])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_fails_the_run(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, value
):
    actors = make_actors()
    model: Any = actors.scorer.reward_model.model
    with torch.no_grad():
        model.score.weight[1, 0] = value
    with pytest.raises(RunFailedError, match="score of response 0 is") as failed:
        actors.scorer.score(sample(actors, prompts, settings))
    assert len(str(failed.value).splitlines()) == 1


@pytest.fixture(params=["wordpiece", "unigram", "byte-level"])
def foreign_actors(
    request: pytest.FixtureRequest, tiny_causal_lm: BuildModel, make_actors: MakeActors
) -> Actors:
    """A policy of GPT-2's kind whose reward model has a tokenizer of another family."""
    policy, reward = tokenizer_of("byte-fallback"), tokenizer_of(request.param)
    sizes = {"max_position_embeddings": 128}
    actors = make_actors(vocab_size=len(policy), **sizes)
    foreign = make_actors(vocab_size=len(reward), **sizes).scorer.reward_model
    scorer = Scorer(foreign, partial(read_responses, policy, reward, render=continue_prompt))
    return Actors(actors.policy, actors.ref_policy, scorer, policy.eos_token_id)


def words(actors: Actors, count: int = 6) -> list[Prompt]:
    generator = torch.Generator().manual_seed(2)
    size = actors.policy.model.config.vocab_size
    rows = torch.randint(10, size, (count, 3), generator=generator).tolist()
    return [Prompt(number, tuple(ids)) for number, ids in enumerate(rows)]


def test_a_foreign_reward_model_reads_the_text(foreign_actors: Actors, settings: PpoSettings):
    responses = sample(foreign_actors, words(foreign_actors), settings)
    scored = foreign_actors.scorer.score(responses, ATTENTION)
    assert foreign_actors.scorer.read is not None
    assert scored.reward_attention is not None
    assert scored.dropped_share is not None
    rows = [PromptedResponse(*responses.ids_of(row)) for row in range(6)]
    read = foreign_actors.scorer.read(rows, width=responses.response_width)
    for row in range(6):
        ids = read.input_ids[row][read.attention_mask[row]].tolist()
        score, attention = eagerly(foreign_actors, ids)
        assert_close(scored.scores[row], score, atol=1e-5, rtol=0)
        reaches = read.overlap[row, : len(ids)].sum(-1) > 0
        arrived = scored.reward_attention[row]
        assert_close(arrived.sum(), attention[reaches].sum(), atol=1e-6, rtol=0)
        assert (arrived[~responses.response_mask[row]] == 0).all()
        assert_close(scored.dropped_share[row], attention[~reaches].sum(), atol=1e-6, rtol=0)


def test_a_foreign_reward_model_scores_each_response_alone(
    foreign_actors: Actors, settings: PpoSettings
):
    prompts = words(foreign_actors)
    together = foreign_actors.scorer.score(sample(foreign_actors, prompts, settings), ATTENTION)
    for row, prompt in enumerate(prompts):
        responses = sample(foreign_actors, [prompt], settings)
        alone = foreign_actors.scorer.score(responses, ATTENTION)
        assert alone.reward_attention is not None
        assert together.reward_attention is not None
        assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=0)
        width = responses.response_width
        expected = together.reward_attention[row, :width]
        assert_close(alone.reward_attention[0], expected, atol=1e-6, rtol=0)


def test_a_template_is_read_and_gets_no_credit(foreign_actors: Actors, settings: PpoSettings):
    assert isinstance(foreign_actors.scorer.read, partial)
    policy, reward = foreign_actors.scorer.read.args
    responses = sample(foreign_actors, words(foreign_actors), settings)
    plain = foreign_actors.scorer.score(responses, ATTENTION)
    render = make_render("The plot was: {prompt}{response} and so it was.", reward)
    dressed = Scorer(
        foreign_actors.scorer.reward_model,
        partial(read_responses, policy, reward, render=render),
    )
    scored = dressed.score(responses, ATTENTION)
    assert scored.dropped_share is not None
    assert plain.dropped_share is not None
    assert scored.dropped_share.mean() > plain.dropped_share.mean()
    assert not torch.allclose(scored.scores, plain.scores)


def test_of_a_text_longer_than_the_reward_models_context_the_end_is_read(
    foreign_actors: Actors, settings: PpoSettings
):
    assert foreign_actors.scorer.read is not None
    responses = sample(foreign_actors, words(foreign_actors), settings)
    rows = [PromptedResponse(*responses.ids_of(row)) for row in range(6)]
    read = foreign_actors.scorer.read(rows, width=responses.response_width)
    lengths = read.attention_mask.sum(-1)
    context = int(lengths.sort().values[2])
    short: Any = foreign_actors.scorer.reward_model.model
    short.config.max_position_embeddings = context
    try:
        scored = foreign_actors.scorer.score(responses, ATTENTION)
    finally:
        short.config.max_position_embeddings = 128
    assert scored.cut is not None
    assert scored.reward_attention is not None
    assert scored.cut.tolist() == (lengths > context).tolist()
    assert scored.cut.any()
    assert not scored.cut.all()
    for row in range(6):
        ids = read.input_ids[row][read.attention_mask[row]].tolist()[-context:]
        score, attention = eagerly(foreign_actors, ids)
        assert_close(scored.scores[row], score, atol=1e-5, rtol=0)
        reaches = read.overlap[row, : int(lengths[row])][-context:].sum(-1) > 0
        arrived = scored.reward_attention[row].sum()
        assert_close(arrived, attention[reaches].sum(), atol=1e-6, rtol=0)


def test_a_template_leaves_the_ids_of_a_shared_tokenizer_as_they_were(
    make_actors: MakeActors, settings: PpoSettings
):
    tokenizer = tokenizer_of("byte-level")
    actors = make_actors(vocab_size=len(tokenizer), max_position_embeddings=128)
    responses = sample(actors, words(actors), settings)
    render = make_render("The plot was: {prompt}{response} (end)", tokenizer)
    read = partial(splice_responses, tokenizer, tokenizer, render=render)
    scorer = Scorer(actors.scorer.reward_model, read)
    scored = scorer.score(responses, ATTENTION)
    assert scored.reward_attention is not None
    before, after = encode_plain(tokenizer, "The plot was: "), encode_plain(tokenizer, " (end)")
    for row in range(6):
        prompt, response = responses.ids_of(row)
        asked = encode_plain(tokenizer, "The plot was: " + str(tokenizer.decode(prompt)))
        assert asked[:2] == before[:2]
        eos = [EOS] if response[-1] == EOS else []
        body = response[: len(response) - len(eos)]
        score, attention = eagerly(actors, [*asked, *body, *after, *eos])
        assert_close(scored.scores[row], score, atol=1e-5, rtol=0)
        arrived = scored.reward_attention[row, : len(body)]
        expected = attention[len(asked) : len(asked) + len(body)]
        assert_close(arrived, expected, atol=1e-6, rtol=0)
    # The prompt alone, which `abcrl credit` asks for, is a text too.
    alone = Responses(
        responses.sequences[:, :3], responses.attention_mask[:, :3], responses.response_mask[:, :0]
    )
    assert scorer.score(alone).scores.isfinite().all()


def test_ids_that_the_reward_model_lacks_are_read_as_unknown(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    model = actors.scorer.reward_model
    # Id 5 is a token of the policy's own; 12 and more have no embedding.
    scorer = Scorer(model, unreadable=UnreadableIds(torch.tensor([5]), 12, 3))
    scored = scorer.score(responses, ATTENTION)
    changed = 0
    for row in range(16):
        prompt, response = responses.ids_of(row)
        ids = [3 if each == 5 or each >= 12 else each for each in prompt + response]
        changed += ids != prompt + response
        score, _ = eagerly(actors, ids)
        assert_close(scored.scores[row], score, atol=1e-5, rtol=0)
    assert changed > 3
    nothing = Scorer(model, unreadable=UnreadableIds(torch.zeros(0, dtype=torch.long), 16, 0))
    assert torch.equal(nothing.score(responses).scores, actors.scorer.score(responses).scores)


def test_evidence_that_can_be_had_passes_the_check(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors("llama")
    actors.scorer.verify(sample(actors, prompts, settings), ATTENTION | PREFIXES)


def test_a_reward_model_that_sees_the_future_is_refused_for_prefixes(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    backbone: Any = actors.scorer.reward_model.model.base_model
    forward = backbone.forward

    def looks_ahead(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(1, True)
        return output

    backbone.forward = looks_ahead
    with pytest.raises(InputError, match=r"reward\.mode"):
        actors.scorer.verify(responses, PREFIXES)
