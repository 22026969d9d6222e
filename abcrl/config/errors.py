"""The two ways a run ends badly: bad input (exit code 2) and a failed run (exit code 1)."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the field or file, the rule, what was received and what to
    do. Several problems found together are several lines.
    """


class RunFailedError(RuntimeError):
    """A run that had started correctly and could not go on; the message is one line."""
