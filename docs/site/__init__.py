"""The site: `make docs` writes its pages from guides, records and code, and Sphinx builds them into `site/`.

One file a kind of page. Verdicts, minutes and settings are those of `jaxgen.ledger` and `jaxgen.report`: nothing is
judged here.
"""
