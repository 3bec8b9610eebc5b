"""Judging rows: how harmful a training pair is, and whether an answer is a refusal."""
