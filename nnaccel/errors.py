"""What nnaccel raises when a user's input is at fault: one sentence, naming the culprit and the remedy."""


class InputError(ValueError):
    """Something the user gave can't be used; the message names it and says what to do."""


class BackendUnavailable(RuntimeError):
    """A backend can't run on this machine; the message gives the reason and the remedy."""


def counted(number: int, what: str) -> str:
    """A number of things, for a sentence.

    Examples
    --------
    >>> counted(1, "row"), counted(2500, "row")
    ('1 row', '2,500 rows')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def check(valid: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless `valid`."""
    if not valid:
        raise InputError(sentence)
