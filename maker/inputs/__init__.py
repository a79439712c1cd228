"""Declared inputs: rows of files, wherever they are, counted once and read by number on any worker.

The only package that imports fsspec. A decomposer reads its rows with `maker.plugin.Input`.

An input (`handle.Input`) is scanned once: that counts its rows and digests every file. Then any row is read by its
block (`blocks`). A worker reads the rows it is given through its own handle. `formats` has one module a file format.

The files as they were when the run began (``maker_input_part``) are part of what the run is. A changed file is refused
by name. One that has grown is read as far as it went; only a retry of ``new`` rows looks further. Where the files lie
is not part of the run (``Place`` parameters); texts that stood in files are kept with it (``OrFile``).

`formats.slices` reads a long text in slices. A slice's own characters say where it ends, so any block of slices is cut
alike.
"""
