"""The errors a user can act on: one sentence that names the key or file and says what to do."""


class UserError(Exception):
    """Something outside the program is wrong: a setting, a file, a missing device. Shown without a traceback."""

    exit = 2
    """Status with which the program ends; the table is in docs/scheduled-pipelines.md."""


class Temporary(UserError):
    """Something was away, such as a server or a lock; the same command may succeed later."""

    exit = 75  # EX_TEMPFAIL of sysexits.h, which mail systems and schedulers read as "try again"


class Refused(UserError):
    """A gate said no to data or to a candidate; what was made is kept, and the champion is as it was."""

    exit = 3


class TimeUp(UserError):
    """A stage took longer than its recipe allows; what it has saved is kept."""

    exit = 124  # as timeout(1) of coreutils


class RecipeError(UserError):
    """Every mistake of a pipeline file at once, each with its path."""

    def __init__(self, source: str, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  - {problem}" for problem in problems))
