"""The command line: `engine ingest | query | eval | train | ...`. It composes the rooms, and holds no ideas."""
