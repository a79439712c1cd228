"""What a pilot says of time: it is one moment, and the model may have changed even within it. Pure."""

from __future__ import annotations

from maker.calibration.observations import Calibration, ChangeFound

ONE_MOMENT = ", and that the model is as it was at the time of the pilot"
"""What every plan takes for granted."""
WHEN_STEADY = "calibrate again when the model's server is steady"


def change_words(calibration: Calibration) -> str:
    """Return how the votes changed within the pilot, in words; "" if no change was found."""
    drift, stretch = calibration.drift, calibration.stretch
    if drift is not None and drift.found:
        return f"the model changed during the pilot: on the same steps {_shares(calibration, drift)}"
    if stretch is not None and stretch.found:
        where = f"on steps {stretch.start + 1:,} to {stretch.stop:,} of the pilot, asked one after another,"
        return f"the model was worse for a while: {where} {_shares(calibration, stretch)}"
    return ""


def moment_words(calibration: Calibration) -> str:
    """Return what a plan takes for granted of time; it completes "assuming that …"."""
    words = change_words(calibration)
    return f"{ONE_MOMENT}, though {words}" if words else ONE_MOMENT


def _shares(calibration: Calibration, change: ChangeFound) -> str:
    what = "wrong" if calibration.labelled else "against the most frequent answer"
    return f"{change.before:.1%} of the votes were {what} in its first half, and {change.after:.1%} in its second"
