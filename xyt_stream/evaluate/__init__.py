"""Scores decoded speech, baselines and choices of the codec (extra "eval")."""
