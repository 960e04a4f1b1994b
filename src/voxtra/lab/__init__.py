"""A disposable real Asterisk for development, demo and tests."""
