"""The command `greenserve`: one file per command group, loaded by name when it is used."""
