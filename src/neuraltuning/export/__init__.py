"""A tuned model as ONNX files that answer without torch: `neuraltuning export MODEL --onnx DIR` (docs/export.md)."""
