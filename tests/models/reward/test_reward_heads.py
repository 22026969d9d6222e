"""A new reward model: its head, its score in training, its offset, its v_head when saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from abcrl.config import InputError, LoraConfig, ModelConfig
from abcrl.models import (
    RewardModel,
    ValueModel,
    add_adapters,
    build_causal_lm,
    load_causal_lm,
    load_reward_model,
    load_tokenizer,
    new_classifier,
    read_scores,
    save_with_value_head,
)

BuildModel = Callable[..., PreTrainedModel]

ARCHITECTURES = ["gpt2", "llama", "gpt_neox", "opt"]
# An EOS in the middle, and padding on either side.
IDS = torch.tensor([[5, 9, 0, 2, 17], [1, 1, 22, 0, 0], [30, 8, 4, 7, 7]])
MASK = torch.tensor([[True] * 5, [False] * 2 + [True] * 3, [True] * 3 + [False] * 2])


@pytest.fixture
def lm(tmp_path: Path, tiny_tokenizer: Tokenizer) -> Callable[..., str]:
    """lm(architecture="gpt2"): the folder of a language model to start from."""

    def save(architecture: str = "gpt2") -> str:
        folder = tmp_path / f"lm-{architecture}"
        config = ModelConfig(base="tiny", architecture=architecture, context_length=32)
        build_causal_lm(config, tiny_tokenizer, seed=1).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return str(folder)

    return save


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The model after some training: every weight is another."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.eval()
    return model


def scores_of(model: PreTrainedModel) -> Tensor:
    return RewardModel(model).score(IDS, MASK).scores


def load_scores(folder: Path) -> Tensor:
    return load_reward_model(str(folder), "reward_model")[0].score(IDS, MASK).scores


class TestNewHead:
    @pytest.mark.parametrize("labels", [("score",), ("negative", "positive")])
    def test_it_has_the_deviation_of_stiennon_et_al_unless_told(self, lm, tiny_tokenizer, labels):
        options: Any = {"seed": 2, "labels": labels}
        first: Any = new_classifier(lm(), tiny_tokenizer, "model", **options)
        assert first.score.weight.shape == (len(labels), 64)
        assert first.config.num_labels == len(labels)
        generator = torch.Generator().manual_seed(2)
        noise = torch.randn(len(labels), 64, generator=generator)
        assert_close(first.score.weight, noise / 65**0.5)
        wide: Any = new_classifier(lm(), tiny_tokenizer, "model", init_std=3.0, **options)
        assert_close(wide.score.weight, 3 * noise)

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_one_output_is_the_score_that_the_saved_model_has(
        self, lm, tiny_tokenizer, tmp_path, architecture
    ):
        model = moved(
            new_classifier(lm(architecture), tiny_tokenizer, "model", seed=2, labels=["score"])
        )
        expected = scores_of(model)
        assert expected.std() > 0.01
        model.save_pretrained(tmp_path / "rm")
        tiny_tokenizer.save_pretrained(tmp_path / "rm")
        assert torch.equal(load_scores(tmp_path / "rm"), expected)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
        assert again.config.num_labels == 1


class TestScoresInTraining:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("labels", [1, 2])
    def test_they_are_those_of_the_reward_model(
        self, tiny_classifier: BuildModel, architecture, labels
    ):
        names = {} if labels == 2 else {"num_labels": 1, "id2label": {0: "score"}, "label2id": {}}
        model = tiny_classifier(architecture, **names)
        assert_close(read_scores(model, IDS, MASK).detach(), scores_of(model))

    def test_neither_padding_nor_its_side_nor_other_rows_matter(self, tiny_classifier: BuildModel):
        model = tiny_classifier(num_labels=1)
        scores = read_scores(model, IDS, MASK).detach()
        for row, (ids, mask) in enumerate(zip(IDS, MASK, strict=True)):
            alone = read_scores(model, ids[mask][None], mask[mask][None]).detach()
            assert_close(alone, scores[row : row + 1], atol=1e-5, rtol=1e-5)
        for filler in (0, 1, 63):
            model.config.pad_token_id = filler
            filled = read_scores(model, IDS.where(MASK, filler), MASK).detach()
            assert_close(filled, scores)

    def test_head_and_trunk_learn_from_them(self, tiny_classifier: BuildModel):
        model = tiny_classifier(num_labels=1)
        torch.autograd.backward(read_scores(model, IDS[:1], MASK[:1]).sum())
        # d score / d weight is the hidden state that the score is read from.
        hidden = model.base_model(IDS[:1]).last_hidden_state[0, -1]
        assert_close(model.get_parameter("score.weight").grad, hidden.detach()[None])
        assert all(parameter.grad is not None for parameter in model.base_model.parameters())

    def test_dropout_acts_on_them_and_not_on_the_reward_model(self, tiny_classifier: BuildModel):
        model = tiny_classifier(num_labels=1, resid_pdrop=0.5)
        model.train()
        noisy = [read_scores(model, IDS, MASK).detach() for _ in range(2)]
        assert not torch.equal(*noisy)
        assert torch.equal(scores_of(model), read_scores(model.eval(), IDS, MASK).detach())


class TestOffset:
    @pytest.mark.parametrize("labels", [1, 2])
    def test_it_is_taken_off_every_score(self, tiny_classifier: BuildModel, labels):
        names = {} if labels == 2 else {"num_labels": 1, "id2label": {0: "score"}, "label2id": {}}
        model = tiny_classifier(**names)
        plain = RewardModel(model).score(IDS, MASK, with_prefixes=True)
        model.config.score_offset = 1.5
        shifted = RewardModel(model).score(IDS, MASK, with_prefixes=True)
        assert_close(shifted.scores, plain.scores - 1.5)
        assert plain.prefix_scores is not None
        assert shifted.prefix_scores is not None
        assert_close(shifted.prefix_scores[MASK], plain.prefix_scores[MASK] - 1.5)

    def test_it_is_saved_and_read_with_the_configuration(
        self, tiny_classifier: BuildModel, tiny_tokenizer, tmp_path
    ):
        model = tiny_classifier()
        model.config.score_offset = -0.25
        model.save_pretrained(tmp_path)
        tiny_tokenizer.save_pretrained(tmp_path)
        assert torch.equal(load_scores(tmp_path), scores_of(model))

    @pytest.mark.parametrize("labels", [1, 2])
    @pytest.mark.parametrize("offset", [None, 0.75])
    def test_a_value_model_that_starts_from_it_says_the_score(
        self, tiny_classifier: BuildModel, labels, offset
    ):
        names = {} if labels == 2 else {"num_labels": 1, "id2label": {0: "score"}, "label2id": {}}
        model = tiny_classifier(**names)
        if offset is not None:
            model.config.score_offset = offset
        value: Any = ValueModel.from_reward_model(RewardModel(model), None)
        hidden = value.trunk(IDS[:1]).last_hidden_state[0, -1]
        assert_close(value.head(hidden).detach(), scores_of(model)[:1])
        assert (value.head.bias is not None) == (offset is not None)
        assert all(parameter.requires_grad for parameter in value.head.parameters())

    @pytest.mark.parametrize("offset", ["0.5", None, True, float("nan"), [1.0]])
    def test_one_that_is_no_number_is_refused(self, tiny_classifier: BuildModel, offset):
        model = tiny_classifier()
        model.config.score_offset = offset
        with pytest.raises(InputError, match=r"^reward_model: score_offset .* finite number, rec"):
            RewardModel(model)


class TestValueHeadFormat:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("labels", [["score"], ["negative", "positive"]])
    def test_both_readers_find_what_was_trained(
        self, lm, tiny_tokenizer, tmp_path, architecture, labels
    ):
        reference = lm(architecture)
        model = moved(new_classifier(reference, tiny_tokenizer, "model", seed=2, labels=labels))
        model.config.score_offset = 0.3
        save_with_value_head(model, tiny_tokenizer, reference, tmp_path / "rm")

        assert scores_of(model).std() > 0.01
        assert_close(load_scores(tmp_path / "rm"), scores_of(model), atol=1e-5, rtol=0)
        weights = load_file(tmp_path / "rm" / "model.safetensors")
        heads = {name: leaf.shape for name, leaf in weights.items() if "v_head" in name}
        assert heads == {"v_head.summary.weight": (1, 64), "v_head.summary.bias": (1,)}

        started, _ = load_causal_lm(reference, "model")
        saved = AutoModelForCausalLM.from_pretrained(tmp_path / "rm")
        assert type(saved) is type(started)
        trunk = saved.base_model.state_dict()
        for name, weight in model.base_model.state_dict().items():
            assert torch.equal(trunk[name], weight), name
        if not started.config.tie_word_embeddings:
            assert torch.equal(
                saved.get_output_embeddings().weight, started.get_output_embeddings().weight
            )

    def test_adapters_are_merged(self, lm, tiny_tokenizer, tmp_path):
        model = new_classifier(lm(), tiny_tokenizer, "model", seed=2, labels=["score"])
        add_adapters(model, LoraConfig(rank=2, target_modules=["c_attn"]), seed=0)
        moved(model)
        save_with_value_head(model, tiny_tokenizer, lm(), tmp_path / "rm")
        assert_close(load_scores(tmp_path / "rm"), scores_of(model), atol=1e-5, rtol=0)

    def test_a_pad_token_that_training_has_added_has_its_row(self, tmp_path):
        folder = tmp_path / "lm"
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=260, special_tokens=["<end>"], initial_alphabet=letters, show_progress=False
        )
        backend.train_from_iterator(["no pad token"], trainer)
        bare = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
        config = ModelConfig(base="tiny", context_length=32)
        build_causal_lm(config, bare, seed=1).save_pretrained(folder)
        bare.save_pretrained(folder)
        tokenizer = load_tokenizer(str(folder), "model")
        model = moved(new_classifier(str(folder), tokenizer, "model", seed=2, labels=["score"]))
        assert len(tokenizer) == len(bare) + 1
        for name in ("one", "two"):
            save_with_value_head(model, tokenizer, str(folder), tmp_path / name)
        assert_close(load_scores(tmp_path / "one"), scores_of(model), atol=1e-5, rtol=0)
        saved = [tmp_path / name / "model.safetensors" for name in ("one", "two")]
        assert saved[0].read_bytes() == saved[1].read_bytes()
