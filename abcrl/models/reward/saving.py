"""A trained reward model as a language model with a `v_head`, as TRL saves it."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.models.adapters import merged_weights
from abcrl.models.loading import give_pad_token, load_causal_lm

from .head import head_of


def save_with_value_head(
    classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, reference: str, folder: Path
) -> None:
    """Saves the score's model in the layout of TRL's AutoModelForCausalLMWithValueHead.

    The language model's own names, and beside them `v_head.summary.weight` and
    `v_head.summary.bias`, one linear layer whose value is the score: of two labels the difference
    of their logits, an offset in its bias. The trunk is the classifier's, adapters merged, the
    language model's own head is as it was.

    Args:
        classifier: The trained sequence classifier; it stays as it is.
        tokenizer: Its tokenizer, which is saved beside it.
        reference: The language model that it was trained from: a local folder or a Hub id.
        folder: Where to; it is made.

    Raises:
        InputError: The language model cannot be loaded.
    """
    model, _ = load_causal_lm(reference, "model")
    give_pad_token(model, tokenizer)
    trunk = {
        name: weight.cpu()
        for name, weight in merged_weights(classifier).items()
        if not name.startswith("score.")
    }
    report = model.load_state_dict(trunk, strict=False)
    assert not report.unexpected_keys  # both were made from one configuration
    head = head_of(classifier, None).as_one_layer().cpu().state_dict()
    head.setdefault("bias", head["weight"].new_zeros(1))
    weights = model.state_dict() | {f"v_head.summary.{name}": leaf for name, leaf in head.items()}
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
