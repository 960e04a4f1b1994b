"""The recording service: what is done about recordings once they are rows."""
