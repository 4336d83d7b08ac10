"""In and out of the formats that people use: GPT-2 folders and PEFT folders."""

from minisft.interop.gpt2 import how_to_download, is_gpt2, load_gpt2, save_gpt2
from minisft.interop.peft import is_peft, load_peft, peft_base, save_peft

__all__ = ["how_to_download", "is_gpt2", "is_peft", "load_gpt2", "load_peft", "peft_base",
           "save_gpt2", "save_peft"]
