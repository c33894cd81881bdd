"""The examiner: the split, the questions and the marks."""
