"""Holds sessions of the OpenAI Realtime protocol, with the model in this process.

turn_detector, turn_framer -> input_buffer -> model_feed -> event_handler, output -> session; each
file builds on those before it.
"""
