"""What outlasts a control plane: `sqlite` for one, `etcd` for several replicas.

`values` is what both are, `mirror` keeps the inventory equal to what they have.
"""
