"""Load balancing: from a list of hosts to a function that picks one."""

from proxy.upstream.balance.policies import Picker, picker
from proxy.upstream.balance.priority import by_priority

__all__ = ["Picker", "by_priority", "picker"]
