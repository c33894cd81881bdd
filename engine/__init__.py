"""The query side of the fashion search engine, and the words that every part of it speaks."""
