"""Pods: found by name, address and labels; as endpoints of services and as workloads."""
