"""Masks in Label Studio's brush format, its "rle". Knows nothing of tasks.

The format is that of the JavaScript package rle-pack (thi.ng/umbrella): 32 bits with the number of values, 5 bits with
a value's width - 1, four times 4 bits with a run length's width - 1; then for each run a bit that says that one value
is repeated, 2 bits that choose the width, the length - 1 in that width, and the value. Label Studio's values are the
bytes of an RGBA picture, row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VALUE_WIDTH = 8
LENGTH_WIDTHS = (4, 8, 12, 16)


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """A mask, (height, width) bool, as the bytes of its code: opaque white where it is true."""
    values = mask.ravel()
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [values.size]])) * 4
    header = f"{values.size * 4:032b}{VALUE_WIDTH - 1:05b}" + "".join(f"{width - 1:04b}" for width in LENGTH_WIDTHS)
    bits = [header]
    longest = 2 ** LENGTH_WIDTHS[-1]
    for value, length in zip(values[starts].tolist(), lengths.tolist(), strict=True):
        byte = "1" * VALUE_WIDTH if value else "0" * VALUE_WIDTH
        for done in range(0, length, longest):
            rest = min(longest, length - done) - 1
            choice = next(i for i, width in enumerate(LENGTH_WIDTHS) if rest < 2**width)
            bits.append(f"1{choice:02b}{rest:0{LENGTH_WIDTHS[choice]}b}{byte}")
    code = "".join(bits)
    code += "0" * (-len(code) % 8)
    return list(int(code, 2).to_bytes(len(code) // 8, "big"))
