"""Word vectors: a row of numbers a word, the same in every sentence."""
