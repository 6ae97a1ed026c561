"""Federation: the bundles of foreign trust domains, fetched and kept, and our own, served."""
