"""Reports on runs: what was claimed, what was measured, and what that rests on; as an HTML page and as JSON.

`counts` counts a log in one pass. `fit` and `figures` make of it what can be said; both are pure. `claims` reads what
was claimed before the first step. `disputes` orders disputed steps by doubt. `page` writes the HTML and is the only
import of Jinja2.

`audit` draws rows for labelling and judges the labels; `labels` is their file, `labelling` helps a person to fill it.
`accept` splits rows by labels into accepted ones and those for review; `row_scores` says how sure an answer is.
`cascade` hands rows on from stage to stage and accepts those of all together; `cascade_log` reads their logs as one.
`rescore` holds a run's elections again by another rule, over the samples that were kept. `comparison` has labelled rows
answered in several ways.
"""
