"""The vector store: one protocol, kept by Qdrant Edge in the process or by a Qdrant server."""
