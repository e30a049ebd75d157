"""What the data_prep scripts share: reading sources, the row schema, splitting, statistics and writing parquet."""
