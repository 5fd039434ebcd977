"""Runs made smaller: fewer weights, or fewer bits of each."""
