"""Prepares the process for a run: device, threads, quiet libraries."""

import platform

import datasets
import huggingface_hub
import torch
import transformers

from abcrl.config import InputError, MachineConfig


def prepare_machine(config: MachineConfig) -> torch.device:
    """Sets torch's threads and returns the device.

    Raises:
        InputError: The named device is not there.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()  # it would count its attempts to connect
    datasets.disable_progress_bars()
    torch.set_num_threads(config.threads)
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(auto if config.device == "auto" else config.device)
    available = {
        "cpu": 1,
        "mps": int(torch.backends.mps.is_available()),
        "cuda": torch.cuda.device_count(),
    }[device.type]
    if (device.index or 0) >= available:
        raise InputError(
            f"device: must be there, received {config.device} but this machine has {available} "
            f"{device.type} devices; choose auto or cpu"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what Trainer and Accelerator take for theirs
    return device


def device_name(device: torch.device) -> str:
    """Returns a name that a person recognises."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"
