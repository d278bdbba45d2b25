"""A tuned model as a service: the engine that batches requests, and what it is reached by."""
