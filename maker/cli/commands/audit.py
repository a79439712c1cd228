"""``maker audit``: bound the share of a map's decided rows that are wrong, with a labelled sample."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from maker.cli.advice import completed
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.queries import show
from maker.reporting.audit import Audit, Judged, Sample, Stratum, draw
from maker.reporting.labels import judge_labels, refuse_labels, write_sample

SIZE = 300
MEANING = {
    Stratum.UNANIMOUS: "no vote for another answer",
    Stratum.CLEAR: "leads by half of the votes or more",
    Stratum.NARROW: "leads by less than half of the votes",
}


def audit(
    run_id: RunId,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help=f"Number of rows to draw. [default: {SIZE}]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="CSV file to write the rows to. [default: audit-<run id>.csv]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Seed of the draw; another seed draws other rows.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Read your labels from FILE and print the error rate."),
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="P", help="Confidence of the upper bounds.")
    ] = 0.95,
    store: Store = DEFAULT_STORE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bound a map's error rate with a sample of rows that you label.

    Run it once to draw rows, and fill the column `correct` of the file with y or n. Run it again with --labels FILE.
    """
    if labels is not None:
        if sample is not None or seed is not None or out is not None:
            raise BadInput(
                "--labels reads a sample; --sample, --seed and --out draw one", fix="give --labels FILE without them"
            )
        _print_audit(judge_labels(run_id, labels, confidence=confidence, store=store), as_json=as_json)
        return
    file = out or Path(f"audit-{show(run_id, store=store).run_id}.csv")
    refuse_labels(file, force=force)
    drawn = draw(run_id, size=sample or SIZE, seed=seed or 0, store=store)
    if_all_right = drawn.promise(confidence)
    write_sample(drawn, file, force=force)
    if as_json:
        strata = {
            str(name): {"decided": drawn.decided[name], "sampled": count} for name, count in drawn.counts().items()
        }
        facts = {
            "run_id": drawn.run_id, "digest": drawn.digest, "seed": drawn.seed, "file": str(file), "strata": strata,
            "confidence": confidence, "at_most_if_all_right": if_all_right, "missed": dict(drawn.missed),
            "unsettled": drawn.unsettled,
        }  # fmt: skip
        print(json.dumps(facts))
        return
    _print_sample(drawn, file, if_all_right, confidence)


def _print_sample(drawn: Sample, file: Path, if_all_right: float, confidence: float) -> None:
    decided = sum(drawn.decided.values())
    print(
        f"run {drawn.run_id}: {len(drawn.rows):,} of {decided:,} decided rows are in {file}, drawn by seed {drawn.seed}"
    )
    for name, count in drawn.counts().items():
        print(f"  {name:10} {count:>6,} of {drawn.decided[name]:>9,}  {MEANING[name]}")
    then = completed(f"`maker audit {drawn.run_id} --labels {shlex.quote(str(file))}`")
    print(f"  fill the column `correct` with y or n, then run {then}")
    print(
        f"  if all of them are right, at most {_up(if_all_right)} of the decided rows are wrong, with a confidence of "
        f"{_plain(confidence)}"
    )
    _print_missing(drawn.missed, drawn.unsettled)


def _print_audit(found: Audit, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_json()))
        return
    whole, confidence = found.whole, _plain(found.confidence)
    print(f"run {found.run_id}: {whole.labelled:,} of {whole.sampled:,} sampled rows are labelled")
    print(f"  {'':10} {'decided':>9} {'sampled':>8} {'labelled':>8} {'wrong':>6} {'estimate':>9} {'at most':>9}")
    for name, one in (*found.strata.items(), ("all", whole)):
        print(f"  {name:10} {_counts(one)}")
    for name in found.strata:
        print(f"  {name}: {MEANING[name]}")
    if found.census:
        print(f"{whole.wrong:,} of the {whole.decided:,} decided rows are wrong: {_near(whole.wrong / whole.decided)}.")
    else:
        print(
            f"With a confidence of {confidence} at most {_up(whole.at_most)} of the {whole.decided:,} decided rows are "
            f"wrong: {_rows(whole.at_most_rows)}."
        )
    for line in _basis(found):
        print(f"  {line}")
    _print_missing(found.missed, found.unsettled)


def _basis(found: Audit) -> list[str]:
    """Return the evidence and assumptions behind an audit's numbers, a sentence or two a line."""
    whole, confidence = found.whole, _plain(found.confidence)
    if found.census:
        return ["Every decided row is labelled, so nothing is estimated. Labels are taken as the truth."]
    extra = whole.labelled - found.part
    lines = [
        f"Basis: rows drawn at random in each stratum, by seed {found.seed}; {whole.labelled:,} labels, taken as the "
        "truth.",
        f"The bound on all rows uses the {found.part:,} labels of rows drawn in proportion to the strata"
        + (f"; {extra:,} more were drawn from small strata." if extra else "."),
        f"Each stratum's bound holds with {confidence} on its own, not all of them together.",
    ]
    if whole.labelled < whole.sampled:
        lines.append(
            f"{whole.sampled - whole.labelled:,} sampled rows are not labelled: bounds and estimates hold only if "
            "they are missing at random. If all of them were wrong, the bound on all rows would be "
            f"{_up(whole.at_most_worst)}."
        )
    return lines


def _counts(one: Judged) -> str:
    exact = one.labelled == one.decided
    shares = f"{'unknown' if one.estimate is None else _near(one.estimate):>9} "
    shares += f"{_near(one.at_most) if exact else _up(one.at_most):>9}"
    return f"{one.decided:>9,} {one.sampled:>8,} {one.labelled:>8,} {one.wrong:>6,} {shares}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _print_missing(missed: Mapping[str, int], unsettled: int) -> None:
    outcomes = [f"{count:,} {name}" for name, count in missed.items()]
    outcomes += [f"{unsettled:,} still open, or after a row that is"] if unsettled else []
    if outcomes:
        without = _rows(sum(missed.values()) + unsettled)
        print(f"  not covered: {without} that votes did not decide, {', '.join(outcomes)}")


def _plain(share: float) -> str:
    return f"{100 * share:.6g} %"


def _near(share: float) -> str:
    """Return a share in per cent, to three digits."""
    return f"{100 * share:.{_places(share)}f} %"


def _up(share: float) -> str:
    """Return a bound in per cent, to three digits, never rounded down."""
    scale = 10 ** _places(share)
    return f"{math.ceil(100 * share * scale - 1e-6) / scale:.{_places(share)}f} %"


def _places(share: float) -> int:
    return 2 if share <= 0 else min(6, max(0, 2 - math.floor(math.log10(100 * share))))
