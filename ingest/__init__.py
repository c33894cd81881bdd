"""From image files to points: sources, decoding, the ledger and the worker."""
