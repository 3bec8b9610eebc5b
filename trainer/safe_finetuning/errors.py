"""Errors that a user can act on: what happened, where, and what to do next."""

from __future__ import annotations


class UserError(Exception):
    """A problem in the user's files or surroundings; shown as it is, without a traceback."""


class LocatedError(UserError):
    """A problem at a place in a file."""

    def __init__(self, message: str, file: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.message, self.file, self.line, self.column = message, file, line, column


class GivenUp(Exception):
    """A measurement while the model trains is given up: the run is to be saved and stopped."""


class Cancelled(Exception):
    """The user told the run to end, and there is nothing to save first."""
