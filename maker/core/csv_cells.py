"""Values as cells of CSV: numbers in plain digits, and no text that a spreadsheet would run."""

from __future__ import annotations

import base64
import csv
import datetime
import io
import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet takes for a formula, by OWASP's list, and a line end before one."""
_NUMERAL = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?%?")


def csv_line(values: Iterable[Any]) -> bytes:
    """Return values as a line of CSV in UTF-8, its line end with it."""
    text = io.StringIO()
    # Cells are put in quotation marks for what a line may end with: a carriage return must be among that.
    csv.writer(text, lineterminator="\r\n").writerow([csv_cell(value) for value in values])
    # Half a surrogate pair, which JSON can spell, has no UTF-8.
    return (text.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "backslashreplace")


def csv_cell(value: Any) -> str:
    """Return a value as the text of a cell.

    Nothing is "", numbers have no exponent, times are in ISO 8601, bytes in Base64, lists and objects in JSON. A text
    that a spreadsheet would run gets an apostrophe before it; one that is a number, such as -5, stays as it is.
    """
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_RUN) and not _NUMERAL.fullmatch(value) else value
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    if isinstance(value, float | Decimal):
        return plain_digits(value) or ""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    whole = isinstance(value, list | tuple | dict)
    return json.dumps(value, ensure_ascii=False, default=csv_cell) if whole else csv_cell(str(value))


def plain_digits(value: float | Decimal) -> str | None:
    """Return a number without an exponent, None for one that is not finite: 0.0000002617, not 2.617e-07."""
    if not math.isfinite(value):
        return None
    return format(value if isinstance(value, Decimal) else Decimal(repr(float(value))), "f")
