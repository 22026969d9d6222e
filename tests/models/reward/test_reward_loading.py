"""Reward models from folders: what they are is told from their weights; what is none is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from abcrl import hub
from abcrl.config import InputError
from abcrl.models import RewardModel, load_reward_model
from tests.models.attention.attention_cases import eager_maps
from tests.models.reward.value_heads import FORMATS, draw, heads, save_model, weights_of

BuildModel = Callable[..., PreTrainedModel]
SaveModel = Callable[..., str]

EOS = 0
# An EOS in the middle, and padding on the left.
IDS = torch.tensor([[5, 9, EOS, 2, 17], [1, 1, 22, EOS, EOS]])
MASK = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])


@pytest.fixture
def save(
    tiny_classifier: BuildModel,
    tiny_causal_lm: BuildModel,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
) -> SaveModel:
    """save(kind, architecture="gpt2", **config): the folder of a reward model."""

    def save_reward_model(kind: str, architecture: str = "gpt2", **config: Any) -> str:
        folder = tmp_path / f"{kind}-{architecture}"
        if kind == "v_head":
            model = tiny_causal_lm(architecture, **config)
            return save_model(folder, model, tiny_tokenizer, weights_of(model) | heads()["trl"])
        tiny_classifier(architecture, **config).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return str(folder)

    return save_reward_model


def load(folder: str, **options: Any) -> RewardModel:
    return load_reward_model(folder, "reward_model", **options)[0]


def refuse(folder: str, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        load(folder, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def scores_of(reward_model: RewardModel) -> Tensor:
    return reward_model.score(IDS, MASK, with_attention=False).scores


def reconfigure(folder: str, **changes: object) -> None:
    file = Path(folder) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gptj", "gpt_neox", "opt"])
def test_a_classifier_comes_back_frozen_in_eval_mode_with_its_tokenizer(
    save: SaveModel, tiny_classifier: BuildModel, tiny_tokenizer: Tokenizer, architecture
):
    reward_model, tokenizer = load_reward_model(save("classifier", architecture), "reward_model")
    assert torch.equal(
        scores_of(reward_model), scores_of(RewardModel(tiny_classifier(architecture)))
    )
    assert not reward_model.model.training
    assert not any(parameter.requires_grad for parameter in reward_model.model.parameters())
    assert tokenizer.get_vocab() == tiny_tokenizer.get_vocab()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gptj", "gpt_neox", "opt"])
@pytest.mark.parametrize("kind", ["classifier", "v_head"])
def test_the_pad_token_of_a_checkpoint_changes_no_score(save: SaveModel, kind, architecture):
    folder = save(kind, architecture)
    expected = scores_of(load(folder))
    assert expected.std() > 0.01
    for pad_token_id in (None, EOS, 9, -1):
        reconfigure(folder, pad_token_id=pad_token_id)
        assert torch.equal(scores_of(load(folder)), expected)
        alone = load(folder).score(IDS[1:, 2:], MASK[1:, 2:], with_attention=False).scores
        torch.testing.assert_close(alone, expected[1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["classifier", "v_head"])
def test_a_checkpoint_that_does_not_say_what_it_is_is_told_by_its_weights(save: SaveModel, kind):
    folder = save(kind)
    expected = scores_of(load(folder))
    reconfigure(folder, architectures=None)
    assert torch.equal(scores_of(load(folder)), expected)


@pytest.mark.parametrize("kind", ["classifier", "v_head"])
def test_layer_and_heads_go_to_the_capture(save: SaveModel, kind):
    reward_model = load(save(kind), layer=1, heads=[2])
    attention = reward_model.score(IDS, MASK, with_attention=True).attention
    assert attention is not None
    expected = eager_maps(reward_model.model.base_model, IDS, MASK, layer=1)[:, 2, -1]
    torch.testing.assert_close(attention, expected, atol=1e-6, rtol=0)


def test_labels_without_a_meaning_need_one(save: SaveModel):
    folder = save("classifier", id2label={0: "LABEL_0", 1: "LABEL_1"})
    assert refuse(folder).startswith(
        "score.positive_label: must say which label is the good one where their names do not, "
        "received nothing for a reward model with the labels LABEL_0 (0) and LABEL_1 (1); "
    )
    assert torch.equal(
        scores_of(load(folder, positive_label=1)),
        -scores_of(load(folder, positive_label="label_0")),
    )
    assert refuse(folder, positive_label="good").startswith("score.positive_label: must be one of")


def test_a_classifier_with_one_label_is_read_and_takes_no_label(save: SaveModel):
    folder = save("classifier", num_labels=1)
    assert scores_of(load(folder)).std() > 0.01
    assert refuse(folder, positive_label=1).startswith("score.positive_label: must be left out")


def test_a_value_head_takes_no_label(save: SaveModel):
    assert refuse(save("v_head"), positive_label=1).startswith("score.positive_label: must be left")


def test_a_language_model_is_refused(
    tiny_causal_lm: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    # Its head would be random: scores of any text, all meaningless.
    model = tiny_causal_lm()
    for form in FORMATS:
        folder = save_model(tmp_path / form, model, tiny_tokenizer, weights_of(model), form=form)
        assert refuse(folder) == (
            "reward_model: must be a reward model, a sequence classifier or a language model with "
            f"a v_head, received {folder} without score.weight and v_head; train one with abcrl "
            "train-rm"
        )


def test_a_classifier_with_a_trained_bias_is_refused(
    tiny_classifier: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path
):
    # transformers' head has none and would leave it out: every score would be another.
    model = tiny_classifier()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folder = save_model(tmp_path / "rm", model, tiny_tokenizer, weights | {"score.bias": draw(2)})
    line = refuse(folder)
    assert line.startswith("reward_model: must have the head of GPT2ForSequenceClassification, ")
    assert "with score.bias besides" in line


@pytest.mark.parametrize("architecture", ["bert", "t5"])
def test_what_is_no_decoder_is_refused(tiny_tokenizer: Tokenizer, tmp_path: Path, architecture):
    sizes = {
        "bert": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16},
        "t5": {"d_model": 16, "num_heads": 2, "d_kv": 8, "d_ff": 16},
    }
    config = AutoConfig.for_model(
        architecture, num_layers=1, num_hidden_layers=1, **sizes[architecture]
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    line = refuse(str(tmp_path))
    assert line.startswith(
        "reward_model: must be a decoder with a v_head, or a sequence classifier"
    )


def test_without_a_network_a_hub_id_is_read_from_the_cache(
    save: SaveModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def nobody(_: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "get_hf_file_metadata", nobody)
    repository = tmp_path / "cache" / "models--some--model"
    folder = save("v_head")
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert torch.equal(scores_of(load("some/model")), scores_of(load(folder)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tiny_classifier: BuildModel, tiny_tokenizer: Tokenizer, tmp_path: Path, value
):
    model = tiny_classifier()
    with torch.no_grad():
        model.get_parameter("score.weight")[0, 3] = value
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"^reward_model: must have finite weights.*score\.weight"):
        load_reward_model(str(tmp_path), "reward_model")
