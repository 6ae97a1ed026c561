"""Load balancing: from the hosts of a cluster to what picks one."""

from proxy.upstream.balance.build import Balancer, Surroundings, balancer
from proxy.upstream.balance.context import ContextPicker, PickContext, Picker
from proxy.upstream.balance.host_set import HostSet, host_sets
from proxy.upstream.balance.subset import subset_balancer

__all__ = [
    "Balancer",
    "ContextPicker",
    "HostSet",
    "PickContext",
    "Picker",
    "Surroundings",
    "balancer",
    "host_sets",
    "subset_balancer",
]
