"""The errors a user can act on: one sentence that names the key or file and says what to do."""


class UserError(Exception):
    """Something outside the program is wrong: a setting, a file, a missing device. Shown without a traceback."""


class RecipeError(UserError):
    """Every mistake of a pipeline file at once, each with its path."""

    def __init__(self, source: str, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  - {problem}" for problem in problems))
