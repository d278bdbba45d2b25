"""Settings for all tests: no network, few threads, and the same random numbers in whatever order they run."""

from __future__ import annotations

import os
import random
import sys

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@pytest.fixture(autouse=True)
def _the_same_random_numbers() -> None:
    """Start each test at the same seed: which tests ran before it, in this process, must not matter."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
