"""Objects from a Kubernetes API server, by list and watch; `source.KubernetesSource` is the door.

    access (kubeconfig, in-cluster) -> client (HTTP, JSON) -> discovery -> wanted (which kinds)
      -> reflector (list, watch, back-off), one for each kind -> replica (what is new of it)
      -> intake -> controlplane.inventory

Beside it `leader` (a Lease) and what only the leader does: `status_writer`.
"""
