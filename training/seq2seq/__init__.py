"""Bases that read a source and write a target: Marian, mBART-50, T5. vLLM serves none of them."""
