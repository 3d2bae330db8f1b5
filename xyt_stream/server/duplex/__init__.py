"""Runs conversations between a user and a speech language model.

models and vad -> runner, parrot; interruption -> conversation; each file builds on those before it.
"""
