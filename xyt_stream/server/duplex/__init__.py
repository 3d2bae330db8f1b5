"""Conversations between a user and a speech language model."""
