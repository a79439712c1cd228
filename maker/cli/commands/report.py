"""``maker report``: write an HTML report on a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from maker.cli.labels import AnswerColumn, IdColumn, label_file
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import binary_output, print, writing
from maker.core.atomic import refuse_taken
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.queries import show
from maker.reporting.chances import chance, span
from maker.reporting.counts import KEPT
from maker.reporting.figures import Whole
from maker.reporting.report import report as make_report
from maker.reporting.report import write

AGREED = "P(all steps got the most frequent answer)"


def report(
    run_id: RunId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Page to write. [default: report-<run id>.html]")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Right answers of a map's rows by id, or a `maker audit` file."),
    ] = None,
    id_column: IdColumn = "",
    answer_column: AnswerColumn = "",
    store: Store = DEFAULT_STORE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report on a run: claims, measurements, evidence."""
    given = label_file(labels, id_column, answer_column)
    file = out
    if file is None and not as_json:
        file = Path(f"report-{show(run_id, store=store).run_id}.html")
    if file is not None:
        # Refuse now: reading the log may take minutes.
        refuse_taken(file, force=force)
    # Imported here: no other command needs jinja2.
    from maker.reporting.page import SHOWN, page

    found = make_report(run_id, store=store, labels=given, disputed=KEPT if as_json else SHOWN)
    text = json.dumps(found.to_json(), ensure_ascii=False) + "\n" if as_json else page(found)
    if file is None:
        with writing(sys.stdout):
            write(text, binary_output(), force=force)
        return
    write(text, file, force=force)
    if file is not None:
        for line in found.lead:
            print(line)
        print(_number(found.whole))
        print(f"run {found.run.run_id}: report on {found.steps:,} steps, {found.disputed_steps:,} disputed, in {file}")


def _number(whole: Whole) -> str:
    """Return the number for the whole run in a line, or why it is not shown."""
    if whole.right is None:
        return f"{AGREED}: not shown; {whole.missing}"
    struck = f"; do not rely on it: {'; '.join(whole.against)}" if whole.against else ""
    found = f"{chance(whole.right.value)} ({span(whole.right)})"
    given = "by the votes alone, p varying over steps, if what the page assumes holds"
    return f"{AGREED}: {found} {given}; whether it is right they cannot show{struck}"
