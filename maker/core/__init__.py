"""The base that every package uses: finding plugins, calling user code, atomic files, the logger."""
