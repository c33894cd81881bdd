"""Readers: one for each layout in which people keep photographs, each a stream of Items in a stable order."""
