"""Draws a sample data set, because photographs of people in clothes cannot be shipped with a program."""
