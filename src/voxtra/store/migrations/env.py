"""What alembic runs: the revisions, on the connection and in the transaction it is handed.

`voxtra.store.migrate` calls it. A new revision is written by hand as `versions/NNNN_subject.py`,
with an `upgrade` that runs on SQLite and on PostgreSQL, and without a `downgrade`: to go back is to
restore a backup. What a revision makes is spelt out in it: it stays what it was when the schema
goes on.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
