"""The ledger: one folder a paper, found by `jaxgen.ledger.discovery`."""
