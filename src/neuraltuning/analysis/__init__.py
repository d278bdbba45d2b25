"""Looking into models and methods: cost, activations, attention, comparisons."""
