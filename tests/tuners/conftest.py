"""Settings that every test of the tuners shares."""

from __future__ import annotations

import pytest
import torch
import transformers


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
