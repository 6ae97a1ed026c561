"""Route configurations into tables of `RouteEntry`: everything that can be decided beforehand is.

`tables.table` is the door. Clusters are looked up by name for each request, so that routes and
clusters change independently.
"""
