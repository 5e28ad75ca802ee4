"""The command line: one entry for every program, errors in one line, the comparison of finished runs."""
