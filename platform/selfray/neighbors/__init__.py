"""Which samples of an embedded corpus are most like a query: exactly through the Parquet files, or by an index."""
