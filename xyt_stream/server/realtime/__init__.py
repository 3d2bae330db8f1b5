"""Sessions that speak the OpenAI Realtime protocol with the model in this process."""
