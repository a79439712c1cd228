"""Labels of a run's own rows are to be a random sample of them: others show nothing of the rest. Pure."""

from __future__ import annotations

from collections.abc import Collection

from maker.errors import BadInput
from maker.stats.random_sample import stand_together


def refuse_in_order(rows: Collection[int], of: int, draws: str = "") -> None:
    """Refuse labels of rows that stand together in a file, as those of no random sample do. Raises `BadInput`.

    Args:
        rows: The labelled rows' numbers, 0-based.
        of: How many rows the run has.
        draws: What draws rows of the run, for the message; "" where nothing but Python does.
    """
    seen = stand_together(rows, of)
    if not seen:
        return
    by_number = f"with numbers drawn at random, as Python's random.sample(range({of}), {len(set(rows))}) draws them"
    drawn = f"that {draws} draws, or others drawn at random" if draws else by_number
    raise BadInput(
        f"{seen}: a sample by order shows nothing of the other rows",
        fix=f"label rows {drawn}; or add --shuffled (in Python: shuffled=True) if the rows stand in random order",
    )
