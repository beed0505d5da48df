"""vLLM as an engine: the one for GPUs, tensor parallel, and everything that vLLM serves."""
