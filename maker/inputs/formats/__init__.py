"""File formats that rows are read from: one module a format."""
