"""A map over data: every row of a table or a pile of texts is asked for one answer, and voted on by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from random import Random
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from decomposers.common.schema import GivenSchema, as_schema
from decomposers.map.answer import ANSWER, Answer, AnswerFormat
from decomposers.map.fields import FieldRule, near
from decomposers.map.root import Ranges, Root, RootCodec, Run, add_row, checked_root, merged, without
from maker.plugin import (
    NEW,
    BadInput,
    Called,
    Codec,
    Done,
    Fork,
    Function,
    Input,
    InputPart,
    Oracle,
    OrFile,
    Place,
    RowDecomposer,
    RowParams,
    Step,
    StepClass,
    Template,
    unpacked,
)

_EXACT = FieldRule(vote="exact")
SAMPLE_SEED = 0
_WRITTEN = ("rows-000000000-000009999.{}", "rows.{}", "review.jsonl")
"""Files of an output folder, which the input must not take for its own."""


class MapParams(RowParams):
    """Parameters of `Map`.

    Args:
        input: A CSV, TSV, JSON Lines or Parquet file, a pattern like ``parts/*.csv``, or a folder of text files; a path
            or a URL that fsspec knows. E.g. ``"rows.csv"``.
        template: What a row is asked, or the file that holds it: ``{{column}}`` stands for a value of the row. E.g.
            ``"Is {{text}} a question?\\n"``.
        system: The part of the prompt that all rows share, or the file that holds it. E.g. ``"Answer yes or no.\\n"``.
        paraphrases: Other wordings of it, which mean the same: see ``monitor.policy = "decorrelate"``. E.g. ``["Say yes
            or no.\\n"]``.
        schema: The JSON schema of the answer, a table or a file; without one the answer is the reply's text. One of
            ``enum``, ``integer`` or ``boolean`` is for a short answer, the reply's last line. E.g.
            ``{type = "object", properties = {label = {type = "string"}}}``.
        fields: How the schema's fields count in the vote, see `FieldRule`; ``exact`` where nothing is said. E.g.
            ``{label = "casefold"}``.
        answer: The same for an answer without a schema; refused beside one.
        parse: A function ``file.py:name`` that reads a reply its own way: ``read(text)`` returns the answer, a dict
            where there is a schema, else any JSON value but null; or it raises ``ValueError``, a red flag. E.g.
            ``"rules.py:read"``.
        check: One that knows the task's rules, not the answer: ``plausible(row, answer)`` says why an answer to a row
            cannot be, or returns None. It is asked of answers that match the schema; numbers are ints, or decimals.
            E.g. ``"rules.py:plausible"``.
        truth: One that a simulated model asks, ``truth(prompt)``; it returns a `Truth`. E.g. ``"rules.py:truth"``.
        id_column: The column that holds the rows' ids; without it they are named by file and row number. E.g. ``"id"``.
        encoding: Of the input's texts.
        delimiter: What separates the columns of CSV and TSV; "" finds it. E.g. ``";"``.
        quotes: Quotation marks enclose fields of CSV and TSV; set it to false where they are text as any other.
        max_tokens (tokens): Most tokens of a reply; a reply cut there is flagged.
        stop: Texts that end a reply. E.g. ``["\\n\\n"]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    input: Annotated[str, Place()]
    template: Annotated[str, OrFile()]
    system: Annotated[str, OrFile()] = ""
    paraphrases: tuple[str, ...] = ()
    schema_: Annotated[dict[str, Any] | type[BaseModel] | None, OrFile(), GivenSchema()] = Field(
        default=None, alias="schema"
    )
    fields: dict[str, FieldRule] = Field(default_factory=dict)
    answer: FieldRule = _EXACT
    parse: Annotated[Function | Callable[[str], Any] | None, Called(("text",))] = None
    check: Annotated[Function | Callable[[Any, Any], str | None] | None, Called(("row", "answer"))] = None
    truth: Annotated[Function | Oracle | None, Called(("prompt",))] = None
    id_column: str = ""
    encoding: str = "utf-8"
    delimiter: str = Field(default="", max_length=1, pattern=r'^[^"\r\n]?$', exclude_if=lambda value: value == "")
    quotes: bool = Field(default=True, exclude_if=lambda value: value is True)
    max_tokens: int = Field(default=256, ge=1)
    stop: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> MapParams:
        if not Template(self.template).columns:
            raise ValueError(
                "template names no column, and no file has that name; write {{column}} where a row's value goes"
            )
        # Not whether it was given: a stored job names every parameter.
        if self.schema_ is not None and self.answer != _EXACT:
            raise ValueError("answer is for maps without a schema; set how the schema's fields count in fields")
        if not self.output and (self.output_single or self.output_format != "jsonl"):
            raise ValueError("output_format and output_single are for the files in output; set output too")
        self.format()
        return self

    def format(self) -> AnswerFormat:
        """Return how answers are read and counted. Raises ``ValueError`` for a schema or a rule that does not fit."""
        rules: Mapping[str, FieldRule] = self.fields
        return AnswerFormat(
            as_schema(self.schema_), rules if self.schema_ is not None else {ANSWER: self.answer, **rules}
        )


class RowAsked(NamedTuple):
    """A row that is asked: its prompt, and its values."""

    prompt: str
    values: Mapping[str, Any]


class RowAnswered(NamedTuple):
    """A row that is answered."""


State: TypeAlias = Root | RowAsked | RowAnswered


class Map(RowDecomposer[State, Answer]):
    """Asks every row of the input for one answer.

    Rows are independent: each is one step, and one that finds no answer holds none of the others up. Of what an answer
    holds the schema's ``properties`` alone are results (``answer``, where there is no schema); the rest is checked,
    stays in the log, and is not shown.

    The root forks into the rows that its round is to ask: in round 0 all of them, in a later one (`again`) those that
    had no answer, and those that have come since.
    """

    name: ClassVar[str] = "map"
    version: ClassVar[int] = 1
    Params = MapParams

    def __init__(self, params: MapParams, known: Sequence[InputPart] = ()) -> None:
        self.params = params
        self.output, self.output_format = params.output, params.output_format
        self.output_single = params.output_single
        self._template = Template(params.template)
        self._format = params.format()
        self._known = tuple(known)
        self._input = self._opened(grow=False)
        self._apart = False
        self._kind: StepClass[State, Answer] = StepClass(
            "row", self._parsed, self._checked, params.max_tokens, params.stop, params.system,
            None if self._format.lone else as_schema(params.schema_),
            verbatim=True, paraphrases=params.paraphrases, read_before=self._parsed_before,
        )  # fmt: skip
        self.classes = (self._kind,)
        self.state: Codec[State] = RootCodec()
        self.action = self._format.codec

    def parts(self) -> tuple[InputPart, ...]:
        """Count the input's rows, and see that the template and the answer fit its columns.

        Raises:
            BadInput: They do not (of JSON lines, which have columns of their own each, a row fails by itself), the
                input cannot be read or has changed, or it would read the output.
        """
        self._check_apart()
        found = self._input.scan()
        columns = self._input.columns
        unknown = [name for name in self._template.columns if name not in columns]
        if unknown and self._input.uniform:
            raise BadInput(
                f"the template names {{{{{unknown[0]}}}}}, and the input has no such column",
                fix=_column_fix(unknown[0], columns),
            )
        if both := [name for name in self._format.fields if name in columns]:
            raise BadInput(
                f"the answer's field {both[0]!r} is a column of the input too: a row of the output cannot hold both",
                fix="give the field another name, or leave the column out of the input",
            )
        return self._known or found

    def grown(self) -> tuple[InputPart, ...]:
        """Count what has come since the run began, too: it alone looks for that.

        Neither a sample grows, nor what a stage is left.
        """
        return self._opened(grow=True).scan() if self._grows() else self._input.scan()

    def _grows(self) -> bool:
        return bool(self._known) and not self.params.sample and not self.params.chosen

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the map of what the input was when the run began."""
        return type(self)(self.params, parts)

    def prompts(self) -> str:
        """Return what the rows' prompts are made of: the text of the template. Reads nothing."""
        return self._template.text

    def start(self) -> State:
        """Return the root before its first round."""
        return Root()

    def next(self, state: State) -> Step[State, Answer] | Fork[State] | Done:
        """Ask a row, or fork into those that are to be asked."""
        if isinstance(state, RowAsked):
            return Step(self._kind, state.prompt)
        if isinstance(state, RowAnswered):
            return Done(None)
        if state.round > self.params.round:
            return Done(self._counts(state))
        rows = self.rows(state)
        return Fork(
            len(rows), partial(self._child, rows), then=self._then, single=True, missed=partial(self._missed, rows),
        )  # fmt: skip

    def apply(self, state: State, action: Answer) -> State:
        """A row is answered."""
        return RowAnswered()

    def count(self) -> int:
        """Return how many rows the map has: those of the input as it was when the run began, or of the sample."""
        return len(self._chosen) if self._chosen is not None else self._drawable()

    def rows(self, state: State) -> Sequence[int]:
        """Return the numbers of the rows that the root's next fork asks, in the order of its children."""
        root = checked_root(state)
        new = range(root.rows, self.count())
        if not root.round:
            return new
        again = [range(run.first, run.stop) for run in self._asked_again(root)]
        return Ranges([*again, new] if NEW in self.params.again else again)

    def row(self, number: int) -> tuple[str, Mapping[str, Any]]:
        """Return a row's id and values; of one that cannot be read, its place and nothing."""
        place = self._place(number)
        try:
            found = self._scanned().row(place)
        except ValueError:
            return self._scanned().row_id(place), {}
        return found.id, found.values

    def margins(self, votes: Mapping[str, int], winner: str) -> Mapping[str, int]:
        """Return by how many votes each field of a winning answer leads."""
        return self._format.field_margins(votes, winner)

    def counted(self, key: str) -> Mapping[str, str]:
        """Return what a vote says, by its voted fields."""
        return self._format.codec.counted(key)

    def label(self, columns: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what is right by a label: its columns are called as the answer's voted fields."""
        return self._format.label(columns)

    def oracle(self) -> Oracle | None:
        """Return the job's ``truth``."""
        return self.params.truth

    def expected_steps(self) -> int | None:
        """Return the number of rows, None for a later round."""
        return None if self.params.round else self.count()

    def _rows_of_input(self) -> int:
        return sum(part.rows for part in self._known or self._input.scan())

    def _place(self, number: int) -> int:
        """Return where a row of the map stands in the input."""
        number = number if self._chosen is None else self._chosen[number]
        return self._drawn[number] if self.params.sample else number

    @cached_property
    def _chosen(self) -> Sequence[int] | None:
        """The rows that are asked, None where all are."""
        return unpacked(self.params.chosen) if self.params.chosen else None

    def _drawable(self) -> int:
        """Return how many rows the input, or the sample of it, has."""
        rows = self._rows_of_input()
        return min(rows, self.params.sample or rows)

    @cached_property
    def _drawn(self) -> Sequence[int]:
        """The rows of the sample, in the order of the input."""
        return sorted(Random(SAMPLE_SEED).sample(range(self._rows_of_input()), self._drawable()))

    def _scanned(self) -> Input:
        self._input.scan()
        return self._input

    def _opened(self, *, grow: bool) -> Input:
        params = self.params
        return Input(
            params.input, id_column=params.id_column, encoding=params.encoding, delimiter=params.delimiter,
            quotes=params.quotes, known=self._known, grow=grow,
        )  # fmt: skip

    def _check_apart(self) -> None:
        """Raise `BadInput` where the input would read what is written."""
        folder = self.output
        if self._apart or not folder or "://" in folder:
            return
        written = [f"{folder}/{name.format(self.output_format)}" for name in _WRITTEN]
        if any(map(self._input.would_read, written)):
            raise BadInput(
                f"the output folder {folder} lies within the input {self.params.input}, which would read the run's own"
                " results",
                fix="choose an output folder outside of the input",
            )
        self._apart = True

    def _parsed(self, text: str) -> Answer:
        parse = self.params.parse
        return self._format.parse(text) if parse is None else self._format.taken(parse(text))

    def _parsed_before(self, text: str) -> Answer:
        parse = self.params.parse
        return self._format.parse_before(text) if parse is None else self._format.taken_before(parse(text))

    def _checked(self, state: State, answer: Answer) -> str | None:
        check = self.params.check
        if (broken := self._format.check(answer)) or check is None:
            return broken
        values = state.values if isinstance(state, RowAsked) else {}
        forbidden: str | None = check(values, self._format.given(answer))
        # True would be taken for a reason, of a check that means the opposite.
        if not isinstance(forbidden, str | None):
            raise TypeError(f"check must return a reason or None, but returned {forbidden!r:.80}")
        return forbidden

    def _counts(self, root: Root) -> dict[str, int]:
        """Return the run's result: rows in all, and how many have which outcome."""
        missing: Counter[str] = Counter()
        for run in root.missing:
            missing[run.outcome] += run.stop - run.first
        return {"rows": root.rows, "decided": root.rows - missing.total(), **dict(sorted(missing.items()))}

    def _child(self, rows: Sequence[int], root: State, i: int) -> State:
        values = self._scanned().row(self._place(rows[i])).values
        if both := [name for name in self._format.fields if name in values]:
            raise ValueError(f"the row has a column {both[0]!r}, which is a field of the answer too")
        return RowAsked(_sendable(self._template.render(values)), values)

    def _missed(self, rows: Sequence[int], root: State, i: int, outcome: str) -> State:
        add_row(checked_root(root).fresh, rows[i], outcome)
        return root

    def _asked_again(self, root: Root) -> list[Run]:
        """Return the rows without an answer that a later round asks: none that people have decided."""
        missed = [run for run in root.missing if run.outcome in self.params.again]
        return without(missed, self.params.reviewed)

    def _then(self, root: State) -> State:
        before = checked_root(root)
        left = without(before.missing, [(run.first, run.stop) for run in self._asked_again(before)])
        whole = not before.round or NEW in self.params.again
        return Root(before.round + 1, self.count() if whole else before.rows, merged(left, before.fresh))


def _column_fix(name: str, columns: Sequence[str]) -> str:
    """Say what to do about a column that the input does not have."""
    told = near(name, columns)
    if len(columns) == 1 and (found := next((mark for mark in ";\t|" if mark in columns[0]), "")):
        return f"{told}; if {found!r} separates its columns, set task.delimiter = {json.dumps(found)}"
    return told


def _sendable(prompt: str) -> str:
    """Return a prompt that can be sent. Raises ``ValueError`` for half a surrogate pair, which JSON can spell."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        half = ascii(prompt[error.start])
        raise ValueError(f"the row's prompt is not valid Unicode: {half} is half of a surrogate pair") from None
    return prompt
