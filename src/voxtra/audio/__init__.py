"""Media arithmetic: what is in an audio file, exactly, without asking the PBX.

No event loop, no network. Everything streams in blocks, so a file's size never decides the memory
used.
"""
