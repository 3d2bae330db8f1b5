"""Runs conversations between a user and a speech language model.

models and vad -> runner, parrot; interruption -> remote_model and model_track -> conversation: each
file builds on those before it.
"""
