from __future__ import annotations

import numpy as np

from neuraltuning.data.near_duplicates import NEAR, NearPictures


def test_hashes_are_found_up_to_so_many_bits_and_no_more() -> None:
    rng = np.random.default_rng(0)
    codes = [int(code) for code in rng.integers(0, 2**64, 300, dtype=np.uint64)]
    seen: NearPictures[list[int]] = NearPictures(list)
    for place, code in enumerate(codes):
        seen.at(code).append(place)
    for place, code in enumerate(codes):
        for n_bits in range(NEAR + 2):
            changed = code
            for bit in rng.choice(64, n_bits, replace=False).tolist():
                changed ^= 1 << bit
            assert seen.near(changed) == ([[place]] if n_bits <= NEAR else [])


def test_equal_hashes_share_their_value() -> None:
    seen: NearPictures[list[str]] = NearPictures(list)
    seen.at(7).append("a")
    seen.at(7).append("b")
    seen.at(6).append("c")
    assert sorted(seen.near(7)) == [["a", "b"], ["c"]]
