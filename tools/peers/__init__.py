"""Other engines with a draft model that was cut out here: `python -m tools.peers NAME` (docs/servers.md)."""
