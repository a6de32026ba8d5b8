"""The append-only ledger: spools in the gateways, one writer, SQLite behind it, and who may spend what."""
