"""Attempts of a stage: temporary failures are tried again after a growing wait, and time is limited."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import Temporary, TimeUp, UserError
from ..settings import Attempts

T = TypeVar("T")
GRACE_SECONDS = 60.0  # for a step and a checkpoint; then the stage is interrupted once more, without saving
LONGEST_WAIT_SECONDS = 600.0


def persistently(work: Callable[[], T], asked: Attempts, say: Callable[[str], None]) -> tuple[T, int]:
    """What `work` returns, and how many attempts it took.

    Args:
        work: Raises `Temporary` where trying again may help.
        asked: How often, and how long to wait in between.
        say: Told why and when it will be tried again.
    """
    for attempt in range(1, asked.retries + 2):
        try:
            return work(), attempt
        except Exception as error:
            if not temporary(error) or attempt > asked.retries:
                raise
            wait = min(asked.backoff_seconds * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
            say(f"{said(error)}; attempt {attempt + 1} of {asked.retries + 1} in {wait:g} s")
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def temporary(error: BaseException) -> bool:
    """Whether the same may succeed later."""
    return isinstance(error, Temporary | ConnectionError | TimeoutError)


def said(error: BaseException) -> str:
    """An error in a sentence."""
    return str(error) or type(error).__name__


@contextmanager
def limited(stage: str, minutes: float | None) -> Iterator[None]:
    """Interrupt a block that takes too long, as Ctrl-C does, so that training saves its state.

    Raises:
        TimeUp: it took longer.
        UserError: there is a limit, but this is not the main thread, which alone can be interrupted.
    """
    if minutes is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise UserError(f"stages.{stage}.minutes needs the main thread; leave it out, or run the pipeline as a program")
    passed: list[bool] = []

    def interrupt(number: int, frame: Any) -> None:
        passed.append(True)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell script starts in the background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes, GRACE_SECONDS)
    try:
        yield
    except KeyboardInterrupt as interruption:
        if not passed:
            raise
        where = f" ({interruption})" if str(interruption) else ""
        raise TimeUp(
            f"stage {stage} took longer than its {minutes:g} minutes{where}; what is saved is kept, and the same "
            f"command goes on; allow more with stages.{stage}.minutes"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
