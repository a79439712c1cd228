"""The store: runs, chains and decided steps in a SQL database. The only package that imports sqlalchemy."""
