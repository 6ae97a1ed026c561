"""What this proxy tells the control plane of the certificates that it holds."""
