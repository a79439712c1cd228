"""A task as a plain list of typed questions, each of which may use the answers before it."""

from __future__ import annotations

from typing import Literal

from decomposers.function import Question, questions

release_note = questions(
    "release_note",
    [
        Question(
            "kind",
            "Is this change a fix, a feature or a chore? {change}\nOne word:",
            Literal["fix", "feature", "chore"],
        ),
        Question("breaking", "Does this {kind} break existing users? {change}\nAnswer true or false:", bool),
        Question("area", "Which part of the program does it touch? {change}\nOne lower-case word:"),
    ],
    system="You sort changes for a changelog.\n",
)
