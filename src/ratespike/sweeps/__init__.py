"""A multirun from its first check to its last table; Hydra's sweeper and launcher run the jobs in between."""
