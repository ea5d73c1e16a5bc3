"""Predictions, scores, statistics: a run answers questions, with its thoughts and without them."""
