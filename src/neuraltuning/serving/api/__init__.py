"""The HTTP API of `neuraltuning serve`: OpenAI's chat and image endpoints, and masks. Knows no model."""
