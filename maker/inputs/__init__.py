"""Declared inputs: rows of files, wherever they are, counted once and read by number on any worker."""
