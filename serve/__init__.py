"""The HTTP API and the search page over one collection."""
