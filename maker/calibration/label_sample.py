"""Labels of a run's own rows are to be a random sample of them: others show nothing of the rest. Pure."""

from __future__ import annotations

from collections.abc import Collection

from maker.errors import BadInput
from maker.stats.random_sample import stand_together


def refuse_in_order(rows: Collection[int], of: int) -> None:
    """Refuse labels of rows that stand together in a file, as those of no random sample do. Raises `BadInput`.

    ``rows`` are the labelled rows' numbers, 0-based, ``of`` is how many rows the run has.
    """
    seen = stand_together(rows, of)
    if not seen:
        return
    raise BadInput(
        f"{seen}: a sample by order shows nothing of the other rows",
        fix=f"label rows with numbers drawn at random, as Python's random.sample(range({of}), {len(set(rows))}) draws"
        " them; or add --shuffled (in Python: shuffled=True) if the rows stand in random order",
    )
