"""The native engine: continuous batching of reasoning paths over a paged KV cache."""
