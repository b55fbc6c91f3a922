"""Pictures that wait on disk instead of in memory."""

from __future__ import annotations

import tempfile
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Parked:
    """Where a sample's pictures lie: their room in the file, and how long each is."""

    place: int
    room: int
    lengths: tuple[int, ...]


class Spool:
    """A file without a name, so that a killed job leaves nothing behind; room that pictures have left is used again."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the spool
        self.free: list[tuple[int, int]] = []  # room and place, sorted by room
        self.end = 0  # bytes of the file, all of them given to somebody at some time

    def park(self, images: Sequence[bytes]) -> Parked:
        """Write a sample's pictures."""
        size = sum(map(len, images))
        at = bisect_left(self.free, (size, 0))  # the smallest free room that is large enough
        if at < len(self.free):
            room, place = self.free.pop(at)
        else:
            room, place, self.end = size, self.end, self.end + size
        self.file.seek(place)
        self.file.write(b"".join(images))
        # The whole room goes with the pictures, or what they leave over could never be used again.
        return Parked(place, room, tuple(map(len, images)))

    def images(self, parked: Parked) -> list[bytes]:
        """Return pictures that are parked."""
        self.file.seek(parked.place)
        return [self.file.read(length) for length in parked.lengths]

    def release(self, parked: Parked) -> None:
        """Let others have the room of pictures."""
        insort(self.free, (parked.room, parked.place))
