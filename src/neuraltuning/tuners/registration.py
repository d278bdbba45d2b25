"""Entering a method of ours into peft's tables, so that `get_peft_model` and `PeftModel.from_pretrained` know it.

Knows nothing about any particular method.
"""

from __future__ import annotations

from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType, register_peft_method


def peft_type_member(name: str) -> Any:
    """Returns the member `NAME` of peft's `PeftType`, creating it where peft does not have it.

    peft registers only names that are members of its enumeration, and an enumeration can't be subclassed once it has
    members; transformers reads `.peft_type.value`, so that a plain string would not do either.

    Args:
        name: the method's name in lower case.
    """
    value = name.upper()
    if value in PeftType.__members__:
        return PeftType[value]
    member: Any = str.__new__(PeftType, value)
    member._name_ = value
    member._value_ = value
    member._sort_order_ = len(PeftType.__members__)
    member.__objclass__ = PeftType
    PeftType._member_names_.append(value)
    PeftType._member_map_[value] = member
    PeftType._value2member_map_[value] = member
    type.__setattr__(PeftType, value, member)
    return member


def register(name: str, config_cls: type, model_cls: type) -> None:
    """Registers a method under `name`; its prefix is `name + "_"`, which is what transformers derives.

    Calling it again with the same config class (a module imported twice) changes nothing.

    Raises:
        RuntimeError: peft (or another package) already has a different method of that name.
    """
    member = peft_type_member(name)
    existing = PEFT_TYPE_TO_CONFIG_MAPPING.get(member)
    if existing is config_cls:
        return
    if existing is not None:
        raise RuntimeError(
            f"A peft method named {name!r} is already registered by {existing.__module__}; "
            "neuraltuning can't register its own beside it."
        )
    register_peft_method(name=name, config_cls=config_cls, model_cls=model_cls)
