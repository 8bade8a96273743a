"""Why a sample cannot be used: one exception, whose reason is counted and whose detail is shown."""


class BadSample(Exception):
    """A sample that cannot be used.

    Args:
        reason: one or two words that many samples share, such as `undecodable` or `too_short`; they are counted.
            `unreadable` means that the storage failed, not the sample.
        detail: what exactly is wrong with this one.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
