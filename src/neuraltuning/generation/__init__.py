"""Drawing: an image tokenizer and a prior that turns an image embedding into its codes, both pretrained and frozen.

Pretrained on Scenes and shipped in `weights/` (docs/image-generation.md).
"""
