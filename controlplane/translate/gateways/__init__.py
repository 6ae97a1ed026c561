"""Gateways of all three kinds, and routes of Gateway API for gateways and for the mesh."""
