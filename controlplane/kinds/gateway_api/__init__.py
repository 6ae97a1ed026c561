"""The kinds of Gateway API (gateway.networking.k8s.io), with every rule of their CRDs."""
