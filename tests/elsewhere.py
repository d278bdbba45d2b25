"""A second device for machines that have none: tensors that say they are elsewhere and compute on the CPU.

What mixes them with the CPU's own raises as on a GPU, so that tests find what forgets to move a tensor. Speed, kernels
and memory of a GPU are not imitated.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"
_KERNELS = torch.library.Library("_", "IMPL")  # of what makes tensors on the device from nothing
MOVING = {"_to_copy", "copy_"}
"""Operations that may see both devices."""
TAKES_INDICES = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations whose index tensors may be on the CPU, on a GPU too."""


class Elsewhere(torch.Tensor):
    """A tensor on the device; `here` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Elsewhere({self.here!r})"

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.here.untyped_storage()

    def tolist(self) -> Any:
        return self.here.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu() first.")
        return self.here.numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return compute(function, args, kwargs or {})


def compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What `function` gives, on the device that a GPU's tensors would be on.

    Raises:
        RuntimeError: it mixes devices.
    """
    name = function.overloadpacket.__name__
    flat, _ = tree_flatten((args, kwargs))
    tensors = [thing for thing in flat if isinstance(thing, Tensor)]
    away = [t for t in tensors if isinstance(t, Elsewhere)]
    if name == "_fused_sdp_choice":
        return 0  # the plain products
    if away and name not in MOVING:
        checked = tensors
        if name in TAKES_INDICES:
            checked = [args[0], *args[2:3]]
        for tensor in checked:
            if isinstance(tensor, Tensor) and not isinstance(tensor, Elsewhere) and tensor.dim():
                raise RuntimeError(
                    f"Expected all tensors to be on the same device: {name} got some on {NAME} and some on the cpu"
                )
    target = kwargs.get("device")
    goes_away = bool(away) if target is None else torch.device(target).type == NAME
    if name == "copy_":
        goes_away = isinstance(args[0], Elsewhere)
    inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda t: t.here, (args, kwargs))
    if target is not None:
        inner_kwargs = {**inner_kwargs, "device": torch.device("cpu")}
    result = function(*inner_args, **inner_kwargs)
    if not goes_away:
        return result
    result = tree_map_only(Tensor, lambda t: t if isinstance(t, Elsewhere) else Elsewhere(t), result)
    return return_and_correct_aliasing(function, args, kwargs, result)


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


def add_device() -> None:
    """Gives this process a second device, for good."""
    _setup_privateuseone_for_python_backend(NAME, _Backend())
    torch._C._set_only_lift_cpu_tensors(True)  # what is made from lists is made on the CPU and moved
    run = threading.Thread.run

    def run_so(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        run(thread)

    threading.Thread.run = run_so  # type: ignore[assignment, method-assign]
    _KERNELS.fallback(lambda function, *args, **kwargs: compute(function, args, kwargs), "PrivateUse1")
