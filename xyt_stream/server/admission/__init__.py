"""Decides which clients may connect, and limits how much of everything they may use."""
