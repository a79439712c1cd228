"""What everything else rests on: finding plugins, calling user code, atomic files, the logger."""
