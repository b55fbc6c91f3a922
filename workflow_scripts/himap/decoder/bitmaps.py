"""Which image tokens a stage kept, written as hexadecimal text: one bit per image token, first token first."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def unpacked(bitmaps: list[str], total: int) -> np.ndarray:
    """Return several bitmaps of `to_bitmap` as rows of booleans [n, total]."""
    # Four image tokens per digit, eight per byte: an odd number of digits needs one more to fill its last byte.
    raw = bytes.fromhex("".join(bitmap + "0" * (len(bitmap) % 2) for bitmap in bitmaps))
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8)).reshape(len(bitmaps), -1)
    return bits[:, :total].astype(bool)


def to_bitmap(kept: Iterable[int], total: int) -> str:
    """Return the indices of kept image tokens as a hexadecimal bitmap."""
    bits = ["0"] * (-(-total // 4) * 4)  # rounded up to whole digits
    for index in kept:
        bits[index] = "1"
    return "".join(f"{int(''.join(bits[i : i + 4]), 2):x}" for i in range(0, len(bits), 4))


def from_bitmap(bitmap: str) -> list[int]:
    """Return the indices that `to_bitmap` wrote."""
    bits = "".join(f"{int(digit, 16):04b}" for digit in bitmap)
    return [index for index, bit in enumerate(bits) if bit == "1"]
