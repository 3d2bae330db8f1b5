"""Holds sessions of the OpenAI Realtime protocol, with the model in this process.

turn_detector -> input_buffer -> model_feed, output -> session; each file builds on those before it.
"""
