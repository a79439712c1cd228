"""The migrations: ``NNNN_what.py`` has ``upgrade(op)``, which makes schema NNNN of the one before it.

They are the one source of the tables: a new database gets all of them, an old one those it has not had. What they leave
is what `maker.store.backend.schema` says; tests compare the two.
"""
