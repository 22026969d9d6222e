"""Actors of every kind that `networks` names, and their first updates."""

from typing import Any

from abcrl.config import PpoConfig, PpoSettings
from abcrl.rl.actors import Actors, build_policy

KINDS: dict[str, dict[str, Any]] = {
    "shared": {},
    "separate": {"value_model": "separate"},
    "separate-from-policy": {"value_model": "separate", "value_init": "policy"},
    "lora": {"lora": {"rank": 4, "alpha": 8.0}},
    "lora-separate": {"value_model": "separate", "lora": {"rank": 2, "target_modules": ["c_attn"]}},
    "checkpointing": {"gradient_checkpointing": True},
    "lora-checkpointing": {"lora": {}, "gradient_checkpointing": True},
}


def actors_of_kind(actors: Actors, settings: PpoSettings, **networks: object) -> Actors:
    """Returns actors whose policy is built anew from the language model of the given ones."""
    config = PpoConfig.model_validate({
        **settings.model_dump(),
        "policy": "hub/policy",
        "reward_model": "hub/reward-model",
        "run": {"output": "runs/x"},
        "networks": networks,
    })  # fmt: skip
    policy = build_policy(config, actors.policy.model, actors.scorer).eval()
    reference = None if config.networks.lora is not None else actors.ref_policy
    return Actors(policy, reference, actors.scorer, actors.eos_token_id)
