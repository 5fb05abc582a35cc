"""The embedded engine: batched multi-LoRA over a transformers model."""
