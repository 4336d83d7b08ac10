"""Parameter-efficient tuning: LoRA, adapters, prefix and prompt tuning, on one frozen base."""

from minisft.peft.adapter import AdapterConfig
from minisft.peft.files import load_delta, save_delta
from minisft.peft.inject import (
    METHODS,
    add_peft,
    delta,
    describe_parameters,
    export_state,
    has_peft,
    merge,
    remove_peft,
    unmerge,
)
from minisft.peft.lora import LoRAConfig
from minisft.peft.prefix import PrefixConfig
from minisft.peft.prompt import PromptConfig

__all__ = [
    "AdapterConfig", "LoRAConfig", "METHODS", "PrefixConfig", "PromptConfig", "add_peft", "delta",
    "describe_parameters", "export_state", "has_peft", "load_delta", "merge", "remove_peft",
    "save_delta", "unmerge"]
