"""The OpenAI-compatible HTTP server in front of Triton: the only thing that clients reach."""
