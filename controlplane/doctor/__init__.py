"""The certificate doctor of a running mesh."""
