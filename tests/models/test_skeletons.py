"""Networks without numbers have the tensors that the real ones have."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from abcrl.config import InputError
from abcrl.config.reward import EvidenceConfig, ReadingConfig
from abcrl.models import load_causal_lm, load_reward_model
from abcrl.models.skeletons import causal_lm_skeleton, reward_model_skeleton

READING = (EvidenceConfig(), ReadingConfig())


def shapes(model: PreTrainedModel) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (one.shape, one.dtype) for name, one in model.state_dict().items()}


@pytest.fixture(params=["gpt2", "llama"])
def folders(request, tmp_path, tiny_causal_lm, tiny_classifier, tiny_tokenizer):
    """A language model and a classifier of one architecture, saved."""
    for name, build in (("lm", tiny_causal_lm), ("classifier", tiny_classifier)):
        build(request.param).save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
    return tmp_path


def test_a_language_model(folders):
    skeleton = causal_lm_skeleton(str(folders / "lm"), "policy")
    model, _ = load_causal_lm(str(folders / "lm"), "policy")
    assert shapes(skeleton) == shapes(model)
    assert {one.device.type for one in skeleton.parameters()} == {"meta"}
    assert (skeleton.training, skeleton.config._attn_implementation) == (
        model.training,
        model.config._attn_implementation,
    )


def test_weights_are_not_read(folders):
    (folders / "lm" / "model.safetensors").unlink()
    causal_lm_skeleton(str(folders / "lm"), "policy")


def test_a_classifier(folders):
    skeleton = reward_model_skeleton(str(folders / "classifier"), "reward_model", *READING)
    loaded, _ = load_reward_model(str(folders / "classifier"), "reward_model")
    assert shapes(skeleton.model) == shapes(loaded.model)
    assert not any(one.requires_grad for one in skeleton.model.parameters())


def test_a_backbone_with_a_value_head(folders):
    file = folders / "lm" / "model.safetensors"
    head = {"v_head.weight": torch.zeros(1, 32), "v_head.bias": torch.zeros(1)}
    save_file({**load_file(file), **head}, file, metadata={"format": "pt"})
    skeleton = reward_model_skeleton(str(folders / "lm"), "reward_model", *READING)
    loaded, _ = load_reward_model(str(folders / "lm"), "reward_model")
    assert shapes(skeleton.model) == shapes(loaded.model)


def test_an_unknown_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such"}))
    with pytest.raises(InputError, match=r"^policy: must be a model that transformers knows") as no:
        causal_lm_skeleton(str(tmp_path), "policy")
    assert len(str(no.value).splitlines()) == 1
