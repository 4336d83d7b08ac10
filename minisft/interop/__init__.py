"""In and out of the formats that people use: GPT-2 folders."""

from minisft.interop.gpt2 import is_gpt2, load_gpt2, save_gpt2

__all__ = ["is_gpt2", "load_gpt2", "save_gpt2"]
