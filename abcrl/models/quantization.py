"""Frozen weights in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes."""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from abcrl.config import InputError

_KEY = "networks.quantization"


def require_nf4(device: torch.device) -> None:
    """Refuses 4-bit weights where they cannot be had.

    Raises:
        InputError: The package bitsandbytes or a CUDA GPU is missing.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"{_KEY}: must be none without the package bitsandbytes, received nf4; install it "
            f'(pip install -e ".[qlora]"), or leave {_KEY} out'
        )
    if device.type != "cuda":
        raise InputError(
            f"{_KEY}: must be none on this device ({device}), received nf4; run on a CUDA GPU, or "
            f"leave {_KEY} out"
        )


def nf4_options(*heads: str) -> dict[str, Any]:
    """Returns what makes transformers' from_pretrained load weights as 4-bit normal floats.

    Their scales are quantised too; products are computed in bfloat16. Embeddings, norms and the
    output head stay float32.

    Args:
        heads: Names of heads other than the output embedding.
    """
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(heads) or None,
    )
    return {"quantization_config": settings, "device_map": {"": torch.cuda.current_device()}}
