"""The query side of the fashion search engine, and the words that every part of it speaks."""

import os

# ONNX Runtime 1.29 and later tell Microsoft about each model and process, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
