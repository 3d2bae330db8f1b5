"""One thread that steps all streams on the device, and the streams themselves."""
