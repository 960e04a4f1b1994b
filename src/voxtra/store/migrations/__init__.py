"""The revisions of the database, oldest first; `voxtra.store.migrate` runs them."""
