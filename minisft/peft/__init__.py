"""Parameter-efficient tuning: LoRA, adapters, prefix and prompt tuning, on one frozen base."""

from minisft.peft.adapter import AdapterConfig
from minisft.peft.inject import add_peft, delta, describe_parameters, merge, remove_peft, unmerge
from minisft.peft.lora import LoRAConfig
from minisft.peft.prefix import PrefixConfig
from minisft.peft.prompt import PromptConfig

__all__ = ["AdapterConfig", "LoRAConfig", "PrefixConfig", "PromptConfig", "add_peft", "delta", "describe_parameters",
           "merge", "remove_peft", "unmerge"]
