"""Fleet indexing: the query language, the live index, and the operations on them."""
