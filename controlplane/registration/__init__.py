"""Proxies of virtual machines that register themselves, as a WorkloadGroup says."""
