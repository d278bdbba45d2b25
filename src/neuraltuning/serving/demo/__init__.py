"""A page for trying a tuned model: a client of the HTTP API, served beside it (`neuraltuning demo`)."""
