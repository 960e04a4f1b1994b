"""The commands that work on a service's database and blobs; loaded when they are asked for."""
