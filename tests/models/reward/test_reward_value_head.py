"""Backbone and v_head from a folder: the head's value at the last token, in any layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import RewardModel, embedding_rows, load_causal_lm, load_reward_model
from tests.models.reward.value_heads import (
    FORMATS,
    WIDTH,
    draw,
    heads,
    save_model,
    save_weights,
    weights_of,
)

BuildModel = Callable[..., PreTrainedModel]
Tokenizer = PreTrainedTokenizerBase

ARCHITECTURES = ["gpt2", "llama", "gptj", "gpt_neox", "opt", "bloom"]
TEXTS = [[5, 9, 33, 2, 17, 40, 8], [22, 61, 3], [11]]


def load(folder: str) -> RewardModel:
    return load_reward_model(folder, "reward_model")[0]


def refuse(folder: str) -> str:
    with pytest.raises(InputError) as refused:
        load(folder)
    line = str(refused.value)
    assert line.startswith("reward_model: must be ")
    assert folder in line
    assert "\n" not in line
    return line


def scores_of(reward_model: RewardModel) -> Tensor:
    texts = [torch.tensor([text]) for text in TEXTS]
    scores = [
        reward_model.score(ids, torch.ones_like(ids).bool(), with_attention=False).scores
        for ids in texts
    ]
    return torch.cat(scores)


def last_hidden(model: Any) -> Tensor:
    """What the language model itself says of the last token of each text, [N, d]."""
    states = []
    for text in TEXTS:
        with torch.no_grad():
            output = model(torch.tensor([text]), output_hidden_states=True)
        states.append(output.hidden_states[-1][0, -1])
    return torch.stack(states)


def by_hand(layout: str, hidden: Tensor) -> Tensor:
    head = {name.removeprefix("v_head."): tensor for name, tensor in heads()[layout].items()}
    if layout == "trlx":
        inside = (hidden @ head["0.weight"].T + head["0.bias"]).clamp(min=0)
        return (inside @ head["2.weight"].T + head["2.bias"])[:, 0]
    stem = "summary." if layout == "trl" else ""
    return hidden @ head[f"{stem}weight"][0] + head.get(f"{stem}bias", torch.zeros(1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layout", list(heads()))
def test_the_score_is_the_heads_value_at_the_last_token(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, architecture, layout
):
    model = tiny_causal_lm(architecture)
    weights = weights_of(model) | heads()[layout]

    reward_model = load(save_model(tmp_path / "rm", model, tiny_tokenizer, weights))

    expected = by_hand(layout, last_hidden(model))
    assert expected.std() > 0.1
    assert_close(scores_of(reward_model), expected, atol=1e-5, rtol=1e-6)
    assert reward_model.model.dtype == torch.float32
    assert embedding_rows(reward_model.model) == embedding_rows(model)
    assert not any(parameter.requires_grad for parameter in reward_model.model.parameters())


def test_a_narrower_output_than_the_hidden_size_is_what_the_head_reads(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm("opt", word_embed_proj_dim=16)  # as opt-350m
    weights = weights_of(model) | {"v_head.weight": draw(1, 16)}
    assert scores_of(load(save_model(tmp_path / "rm", model, tiny_tokenizer, weights))).std() > 0.1


@pytest.mark.parametrize(
    "prefix",
    ["", "rwtransformer.", "rwtranformer.", "pretrained_model.transformer.", "module.transformer."],
)
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "opt"])
def test_the_backbone_is_found_under_any_prefix(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, architecture, prefix
):
    model = tiny_causal_lm(architecture)
    backbone = {f"{prefix}{k}": v.clone() for k, v in model.base_model.state_dict().items()}
    wrapper = "module." if prefix.startswith("module.") else ""
    weights = backbone | {f"{wrapper}{k}": v for k, v in heads()["linear"].items()}
    weights |= {f"{wrapper}lm_head.weight": draw(64, WIDTH)} if architecture != "gpt_neox" else {}
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights)
    assert_close(scores_of(load(folder)), by_hand("linear", last_hidden(model)))


@pytest.mark.parametrize("form", FORMATS)
def test_every_file_format_gives_the_same_scores(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, form
):
    model = tiny_causal_lm("gptj")
    weights = weights_of(model) | heads()["trl"]
    expected = load(save_model(tmp_path / "one", model, tiny_tokenizer, weights))
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights, form=form)
    assert torch.equal(scores_of(load(folder)), scores_of(expected))


def test_a_file_of_torch_before_1_6_is_read(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm()
    weights = weights_of(model) | heads()["linear"]
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, {}, form="pytorch_model.bin")
    file = Path(folder) / "pytorch_model.bin"
    save_weights(file, weights, _use_new_zipfile_serialization=False)
    assert_close(scores_of(load(folder)), by_hand("linear", last_hidden(model)))


def test_half_precision_is_read_as_float32(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm("llama")
    weights = {k: v.half() for k, v in (weights_of(model) | heads()["trlx"]).items()}
    reward_model = load(save_model(tmp_path / "rm", model, tiny_tokenizer, weights))
    assert {p.dtype for p in reward_model.model.parameters()} == {torch.float32}
    assert_close(scores_of(reward_model), by_hand("trlx", last_hidden(model)), atol=0.1, rtol=0.01)


def test_what_old_checkpoints_hold_besides_is_left_out(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    old = {
        "gpt2": ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"],
        "gptj": ["transformer.h.2.attn.bias", "transformer.h.0.attn.embed_positions"],
        "gpt_neox": ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.masked_bias"],
        "llama": ["model.layers.1.self_attn.rotary_emb.inv_freq"],
        "bloom": ["transformer.h.0.self_attention.masked_bias"],
    }
    for architecture, names in old.items():
        model = tiny_causal_lm(architecture)
        weights = weights_of(model) | heads()["linear"] | {name: torch.ones(1) for name in names}
        folder = save_model(tmp_path / architecture, model, tiny_tokenizer, weights)
        assert_close(scores_of(load(folder)), by_hand("linear", last_hidden(model)))


def test_the_activation_of_an_mlp_is_that_of_the_configuration(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model: Any = tiny_causal_lm()
    model.config.v_head_activation = "tanh"
    head = heads()["trlx"]
    reward_model = load(
        save_model(tmp_path / "rm", model, tiny_tokenizer, weights_of(model) | head)
    )
    inside = (last_hidden(model) @ head["v_head.0.weight"].T + head["v_head.0.bias"]).tanh()
    expected = (inside @ head["v_head.2.weight"].T + head["v_head.2.bias"])[:, 0]
    assert_close(scores_of(reward_model), expected)

    model.config.v_head_activation = "wiggle"
    folder = save_model(tmp_path / "unknown", model, tiny_tokenizer, weights_of(model) | head)
    assert "v_head_activation 'wiggle'" in refuse(folder)


def test_loading_draws_no_random_number(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm()
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights_of(model) | heads()["trlx"])
    state = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"transformer.h.1.mlp.c_fc.weight": None}, "the weight h.1.mlp.c_fc.weight is missing"),
        ({"transformer.wte.weight": None}, "is missing"),
        ({"transformer.wpe.weight": draw(7, 5)}, "wpe.weight has shape [7, 5] instead of [64, 32]"),
        ({"transformer.h.0.adapter.weight": draw(2)}, "h.0.adapter.weight belongs to nothing"),
        ({"score.weight": draw(2, WIDTH)}, "score.weight belongs to nothing"),
        ({"v_head.1.weight": draw(1, WIDTH)}, "unknown layout: 1.weight, weight"),
        ({"v_head.scale": draw(1)}, "not linear"),
        ({"v_head.weight": draw(WIDTH)}, "not linear"),
        ({"v_head.bias": draw(2)}, "not linear"),
        ({"v_head.weight": draw(2, WIDTH)}, "from 32 numbers to one: weight [2, 32]"),
        ({"v_head.weight": draw(1, 31)}, "from 32 numbers to one: weight [1, 31]"),
    ],
)
def test_what_cannot_be_interpreted_is_refused_by_name(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, changes, reason
):
    model = tiny_causal_lm()
    weights = weights_of(model) | heads()["linear"] | changes
    present = {name: tensor for name, tensor in weights.items() if tensor is not None}
    assert reason in refuse(save_model(tmp_path / "rm", model, tiny_tokenizer, present))


@pytest.mark.parametrize("missing", ["v_head.0.bias", "v_head.0.weight", "v_head.2.weight"])
def test_half_an_mlp_is_refused_where_it_lacks_a_matrix(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, missing
):
    model = tiny_causal_lm()
    weights = weights_of(model) | heads()["trlx"]
    del weights[missing]
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights)
    if missing.endswith("bias"):
        load(folder)
    else:
        assert "v_head" in refuse(folder)


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("executed"), "yes"))


def test_a_pickle_that_holds_more_than_tensors_is_refused_and_not_run(
    tiny_causal_lm: BuildModel,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    model = tiny_causal_lm()
    for number, head in enumerate((heads()["linear"], {})):  # without: taken for a classifier
        weights: dict[str, Any] = {**weights_of(model), **head, "payload": _Payload()}
        folder = save_model(
            tmp_path / str(number), model, tiny_tokenizer, weights, form="pytorch_model.bin"
        )
        assert "Weights only load failed" in refuse(folder)
    assert not (tmp_path / "executed").exists()


def test_a_number_among_the_weights_is_refused_by_name(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm()
    weights: dict[str, Any] = {**weights_of(model), **heads()["linear"], "step": 7}
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights, form="pytorch_model.bin")
    assert "step is no tensor" in refuse(folder)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0, 9, 0.5, 0.99])
def test_a_file_cut_short_is_refused_in_one_line(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, form, kept
):
    model = tiny_causal_lm()
    weights = weights_of(model) | heads()["linear"]
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights, form=form)
    for file in Path(folder).glob(f"*{Path(form).suffix}"):
        if file.name == form or "-of-" in file.name:
            content = file.read_bytes()
            size = int(kept * len(content)) if isinstance(kept, float) else kept
            file.write_bytes(content[:size])
    refuse(folder)


def test_a_shard_that_is_absent_is_refused(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model = tiny_causal_lm()
    weights = weights_of(model) | heads()["linear"]
    form = "model.safetensors.index.json"
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights, form=form)
    (Path(folder) / "model-00001-of-00002.safetensors").unlink()
    assert "model-00001-of-00002.safetensors" in refuse(folder)


def test_its_backbone_still_serves_as_a_policy(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    model: Any = tiny_causal_lm()
    weights = weights_of(model) | heads()["linear"]
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights)
    policy: Any = load_causal_lm(folder, "policy")[0]
    ids = torch.tensor([TEXTS[0]])
    with torch.no_grad():
        assert torch.equal(policy(ids).logits, model(ids).logits)
