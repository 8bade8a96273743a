"""Who may write: every process that begins to train takes the next number, and only the highest may commit.

A process that was thought dead, or cut off from the others, may come back and go on writing. It then finds a higher
number than its own and gives up. Kleppmann, Designing Data-Intensive Applications, chapter 8, calls this fencing.
"""

from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from ..errors import UserError
from ..storage import Storage

FOLDER = ".fence"
TRIES = 20
KEPT = 16  # of the older numbers: one that is deleted could be taken by a process that has listed them long ago


class FencedOut(UserError):
    """A newer process writes this run's checkpoints."""


@dataclass(frozen=True)
class Fence:
    """A number that was the highest when it was taken, with a token that tells it from its like of a deleted run."""

    storage: Storage
    number: int
    token: str

    def check(self) -> None:
        """Raise FencedOut unless this is still the highest number."""
        numbers = _numbers(self.storage)
        if max(numbers, default=0) == self.number:
            with suppress(FileNotFoundError):
                if self.storage.read(_name(self.number)) == self.token.encode():
                    return
        newer = f"as owner {max(numbers)}" if numbers and max(numbers) > self.number else "or removed them"
        raise FencedOut(
            f"another process took over the checkpoints in {self.storage} {newer} (this one is owner {self.number}); "
            "this one stops, let only one process train in a run's folder"
        )


def take(storage: Storage) -> Fence:
    """The next number; nobody else gets the same.

    Raises:
        UserError: so many processes begin at once that none was free.
    """
    for _ in range(TRIES):
        older = _numbers(storage)
        fence = Fence(storage, max(older, default=0) + 1, uuid4().hex)
        if storage.create(_name(fence.number), fence.token.encode()):
            for number in older[:-KEPT]:
                storage.delete(_name(number))
            return fence
    raise UserError(f"too many processes begin to train in {storage} at the same time; start one of them")


def _numbers(storage: Storage) -> list[int]:
    names = (name.rpartition("/")[2] for name in storage.sizes(FOLDER))
    return sorted(int(name) for name in names if name.isdigit())


def _name(number: int) -> str:
    return f"{FOLDER}/{number:09d}"
