"""Prepared corpora: checked Parquet shards with a manifest, read in an exact order by any number of workers."""
