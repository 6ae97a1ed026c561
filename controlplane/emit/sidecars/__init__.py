"""What a sidecar gets that intercepts the connections of its workload (REDIRECT, TPROXY)."""
