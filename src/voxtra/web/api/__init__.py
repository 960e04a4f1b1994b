"""The routes of the REST API, by subject: each module has one `router`."""
