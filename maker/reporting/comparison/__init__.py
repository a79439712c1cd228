"""Compares ways to answer the labelled rows of a map, each by what it costs: is voting worth it for this job?

`asking` has rows asked, by runs of their own, and reads what they answered and spent. `methods` has the ways: each is a
function that has rows asked and returns an answer for each, so that a further way is one more entry of its table.
`compare` judges the answers by labels; `advice` says in a sentence what follows, and `kept` has it for plans and
reports. `foreseen` says beforehand what it will cost.

Ways share samples where that changes nothing: the first samples of a row are independent of when its votes ended, so
that one sample, or a majority of the first n, is what it would have been alone. What each way would have cost alone is
counted from what the shared samples took.
"""
