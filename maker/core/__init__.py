"""The base that every package uses: finding plugins, calling user code, atomic files, folder locks, the logger.

`plugins` finds decomposers and voters by entry point, ``path/file.py:Name`` or ``module:Name``. `user_code` calls a
task's own code, so whatever it raises is told as the task's error, with its line. `atomic` writes files and folders
that take their name when they are whole. `locks` keeps a folder for one process. `logs` is the library's logger.
`moved` keeps old module paths importable.
"""
