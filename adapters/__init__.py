"""The vocabulary that training and serving share: what an adapter is. No torch, no vllm."""
