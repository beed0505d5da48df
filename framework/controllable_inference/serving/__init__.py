"""Everything between a client and the engine: Triton, the OpenAI frontend, fetching weights, local mode."""
