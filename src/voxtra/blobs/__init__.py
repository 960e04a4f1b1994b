"""Where finished recordings live: a folder, or an object store.

A blob is a file under a key. It is written whole, read back and compared before anybody is told
that it is there, so that the file it was made from may be removed.
"""
