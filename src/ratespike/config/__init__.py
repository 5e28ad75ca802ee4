"""The configuration of a command: its schemas, checks and names. Nothing heavy is imported here."""
