"""The two ways a run ends badly: bad input (exit code 2) and a failed run (exit code 1)."""


class InputError(ValueError):
    """Bad input: one line per problem, with field or file:line, rule, received, what to do.

    A line stays a line: a message may quote names that hold line feeds.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problem.replace("\n", r"\n") for problem in problems))


class RunFailedError(RuntimeError):
    """A run that had started correctly and could not go on; the message is one line."""
