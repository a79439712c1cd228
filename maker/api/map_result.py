"""What a map returns: the given rows, in their order, with the columns of their answers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from maker.api.answer_columns import ADDED, ADDED_KINDS, COST, MARGIN, OUTCOME, VOTES, Kind
from maker.api.asked_rows import NOT_ASKED, AskedRows
from maker.api.given_rows import GivenRows
from maker.core.atomic import replacing
from maker.errors import BadInput
from maker.inputs.formats.parquet import pyarrow_module
from maker.inputs.parts import BrokenRow
from maker.lifecycle.queries import RunReport, show
from maker.lifecycle.row_tables import write_csv
from maker.lifecycle.rows import WITH_ANSWER, RowResult, results
from maker.types import Outcome

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_PANDAS = {"string": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean", "": "object"}
"""The type of a DataFrame's column that may lack values."""
OPEN = "open"
"""The outcome of a row that the run has not settled: it is paused."""


class UndecidedRow(NamedTuple):
    """A row without a decision.

    Args:
        row: Its number among the rows given, from 0.
        outcome: ``undecided``, ``rejected``, ``failed`` or ``open``, as docs/maps.md says.
        reason: More about it, "" where the votes say all.
        candidates: The votes of each answer.
        flagged: How many replies got no vote, by why.
        values: The row.
    """

    row: int
    outcome: str
    reason: str
    candidates: Mapping[str, int]
    flagged: Mapping[str, int]
    values: Mapping[str, Any]


class MapResult:
    """The rows that were given to `maker.map`, with their answers. It reads the answers from the store.

    Iterate over it for dicts. Money is in the currency of the model's prices. ``_cost`` is a row's tokens at the mean
    price of the run's tokens: None without prices, or without a decision. `cost` has all that was spent.
    """

    def __init__(
        self,
        run_ids: Sequence[str],
        store: str,
        given: GivenRows,
        asked: AskedRows,
        kinds: Mapping[str, Kind],
    ) -> None:
        self.run_id = run_ids[-1]
        """The run, of a map that was called again with more rows its last round."""
        self.columns: tuple[str, ...] = (*given.columns, *kinds, *ADDED)
        """The columns of the rows, of the answers, and those that say how they were decided."""
        self._run_ids, self._store, self._given, self._asked = run_ids, store, given, asked
        self._kinds = {**kinds, **ADDED_KINDS}
        self._names = tuple(kinds)

    @cached_property
    def report(self) -> RunReport:
        """How the run stood when this was first asked; look at ``status`` and ``reason``."""
        return show(self.run_id, store=self._store)

    @cached_property
    def cost(self) -> float | None:
        """What all rounds of the run cost, in the currency of the model's prices; None without prices."""
        costs = [one.cost for one in self._reports]
        return None if None in costs else sum(filter(None, costs))

    @property
    def review(self) -> list[UndecidedRow]:
        """The rows without a decision, with what was voted for."""
        pairs = zip(self._given.read(), self._results(), strict=True)
        return [
            self._undecided(number, row, result)
            for number, (row, result) in enumerate(pairs)
            if result is None or result.outcome not in WITH_ANSWER
        ]

    def _undecided(self, number: int, row: Mapping[str, Any] | BrokenRow, result: RowResult | None) -> UndecidedRow:
        return UndecidedRow(number, *_why(result), values={} if isinstance(row, BrokenRow) else row)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts."""
        return list(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a DataFrame: of one that was given its index and types, with columns that may be missing.

        Raises `BadInput` where pandas is not installed.
        """
        pandas = _module("pandas")
        given = self._given.given
        frame = given if isinstance(given, pandas.DataFrame) else pandas.DataFrame(list(self._values()))
        added = {
            name: pandas.Series(cells, index=frame.index, dtype=_PANDAS[self._kinds[name]])
            for name, cells in self._added().items()
        }
        return frame.assign(**added)

    def to_polars(self) -> polars.DataFrame:
        """Return the rows as a Polars DataFrame. Raises `BadInput` where Polars is not installed."""
        polars = _module("polars")
        given = self._given.given
        frame = given if isinstance(given, polars.DataFrame) else polars.from_arrow(self._given.arrow())
        types = {"string": polars.String, "integer": polars.Int64, "number": polars.Float64, "boolean": polars.Boolean}
        added = self._added().items()
        return frame.with_columns(polars.Series(name, cells, types.get(self._kinds[name])) for name, cells in added)

    def to_arrow(self) -> pyarrow.Table:
        """Return the rows as an Arrow table. Raises `BadInput` where pyarrow is not installed."""
        arrow, table = pyarrow_module(), self._given.arrow()
        types = {
            "string": arrow.string(),
            "integer": arrow.int64(),
            "number": arrow.float64(),
            "boolean": arrow.bool_(),
        }
        for name, cells in self._added().items():
            table = table.append_column(name, arrow.array(cells, types.get(self._kinds[name])))
        return table

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV in UTF-8, in flat memory: numbers in plain digits, and no cell that a spreadsheet runs.

        A text that begins with ``=``, ``+``, ``-`` or ``@`` and is no number gets an apostrophe before it.
        """
        with replacing(Path(path)) as file:
            write_csv(file, self.columns, self)

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows as Parquet, with the types of the table that was given. Raises as `to_arrow` does."""
        arrow, table = pyarrow_module(), self.to_arrow()
        with replacing(Path(path)) as file:
            arrow.parquet.write_table(table, file, compression="zstd")

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row, added in zip(self._values(), self._answered(), strict=True):
            yield {**row, **added}

    def __repr__(self) -> str:
        return f"<maker.map {self.run_id}: {len(self):,} rows, {self.report.status}>"

    @cached_property
    def _reports(self) -> list[RunReport]:
        return [*(show(one, store=self._store) for one in self._run_ids[:-1]), self.report]

    @cached_property
    def _price(self) -> float | None:
        """The mean price of a token."""
        tokens = sum(one.prompt_tokens + one.completion_tokens for one in self._reports)
        return None if self.cost is None or not tokens else self.cost / tokens

    def _values(self) -> Iterator[Mapping[str, Any]]:
        return ({} if isinstance(row, BrokenRow) else row for row in self._given.read())

    def _added(self) -> dict[str, list[Any]]:
        """Return the columns beside those given."""
        rows = [tuple(one.values()) for one in self._answered()]
        added = self.columns[len(self._given.columns) :]
        return dict(zip(added, map(list, zip(*rows, strict=True)), strict=True))

    def _answered(self) -> Iterator[dict[str, Any]]:
        for result in self._results():
            answer = result.answer if result is not None and result.outcome in WITH_ANSWER else None
            found = {name: None if answer is None else answer.get(name) for name in self._names}
            if result is None:
                yield found | {OUTCOME: OPEN, MARGIN: None, VOTES: 0, COST: None}
                continue
            cost = None if self._price is None or answer is None else result.tokens * self._price
            votes = sum(result.votes.values())
            yield found | {OUTCOME: result.outcome, MARGIN: result.margin, VOTES: votes, COST: cost}

    def _settled(self) -> Generator[RowResult, None, None]:
        return results(self.run_id, store=self._store)

    def _results(self) -> Iterator[RowResult | None]:
        """Yield the result of each row in the order of those given, None for one that is open."""
        places, reasons = self._asked.places, self._asked.reasons
        asked = [place for place in places if place != NOT_ASKED] if reasons else places
        with closing(self._settled()) as found:
            in_order = all(one < other for one, other in pairwise(asked))
            settled = _by_place(asked, found) if in_order else _anywhere(asked, found)
            for number, place in enumerate(places):
                yield _not_asked(number, reasons[number]) if place == NOT_ASKED else next(settled)


def _by_place(places: Sequence[int], found: Iterator[RowResult]) -> Iterator[RowResult | None]:
    """Yield the results of rows whose numbers ascend, in flat memory."""
    here = next(found, None)
    for place in places:
        while here is not None and here.row < place:
            here = next(found, None)
        yield here if here is not None and here.row == place else None


def _anywhere(places: Sequence[int], found: Iterator[RowResult]) -> Iterator[RowResult | None]:
    held = {one.row: one for one in found}
    return (held.get(place) for place in places)


def _not_asked(number: int, reason: str) -> RowResult:
    return RowResult(number, "", Outcome.FAILED, reason, None, {}, {}, 0, {}, 0)


def _why(result: RowResult | None) -> tuple[str, str, Mapping[str, int], Mapping[str, int]]:
    if result is None:
        return OPEN, "", {}, {}
    return str(result.outcome), result.reason, result.votes, result.flagged or result.flags


def _module(name: str) -> Any:
    """Return pandas or Polars. Raises `BadInput` where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise BadInput(
            f"to_{name} needs {name}: {error}".splitlines()[0],
            fix=f"pip install {name}; without it there are to_dicts, to_csv and to_arrow",
        ) from error
