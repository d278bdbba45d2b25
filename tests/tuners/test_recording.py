"""Recording which neurons were active."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig, record_activations
from tests.tuners.tiny import base_model, layers_of, randomize, tokens, tuned_model


def test_what_is_recorded_is_what_was_active() -> None:
    model = tuned_model(NeuralTuningConfig(d_z=16, layers_to_transform=[1, 3]))
    first = layers_of(model)[0]
    seen: list[torch.Tensor] = []
    first.base_layer.q_proj.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad(), record_activations(model) as record:
        model(tokens())
    assert len(record.calls) == 1 and list(record.calls[0]) == [1, 3]
    vector = seen[0] @ first.neural_tuning_down["default"].weight.T
    expected = vector >= vector.topk(7, dim=-1).values[..., -1:]
    assert torch.equal(record.calls[0][1], expected)


def test_recording_changes_nothing_and_ends() -> None:
    model = tuned_model()
    plain = model(tokens()).logits
    with record_activations(model) as record:
        assert torch.equal(model(tokens()).logits, plain)
    model(tokens())
    assert len(record.calls) == 1
    with pytest.raises(ZeroDivisionError), record_activations(model) as record:
        raise ZeroDivisionError
    model(tokens())
    assert not record.calls


def test_generation_gives_one_call_a_token() -> None:
    model = tuned_model()
    with record_activations(model) as record:
        model.generate(tokens(2, 5), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert [call[0].shape[1] for call in record.calls] == [5, 1, 1, 1]
    assert record.joined()[3].shape == (2, 8, 16)


def test_a_recomputation_is_not_recorded() -> None:
    model = tuned_model().train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with record_activations(model) as record:
        model(tokens(), labels=tokens()).loss.backward()
    assert len(record.calls) == 1 and len(record.calls[0]) == 4


def test_other_models_other_adapters_and_other_threads_are_not_recorded() -> None:
    model, other = tuned_model(), tuned_model()
    model.add_adapter("second", NeuralTuningConfig(d_z=8))
    randomize(model, "second")
    with record_activations(model, "second") as record:
        other(tokens())
        model(tokens())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model, tokens()).result()
        assert record.calls == [{}]
        model.set_adapter("second")
        model(tokens())
    assert record.calls[1][0].shape == (2, 9, 8)
    assert record.joined()[0].shape == (2, 9, 8)


def test_recordings_can_be_nested() -> None:
    model = tuned_model()
    with record_activations(model) as outer:
        model(tokens())
        with record_activations(model) as inner:
            model(tokens())
        model(tokens())
    assert (len(outer.calls), len(inner.calls)) == (2, 1)


def test_bad_use_is_explained() -> None:
    with pytest.raises(InputError, match="no neural tuning adapter named 'default'"), record_activations(base_model()):
        pass
    with pytest.raises(InputError, match="it has default"), record_activations(tuned_model(), "mine"):
        pass
    model = tuned_model()
    with record_activations(model) as record:
        pass
    with pytest.raises(InputError, match="Nothing was recorded"):
        record.joined()
    with record_activations(model) as record:
        model(tokens(1))
        model(tokens(2))
    with pytest.raises(InputError, match="different batch sizes"):
        record.joined()
