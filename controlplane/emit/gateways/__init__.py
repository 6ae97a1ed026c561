"""What a proxy at the edge of the mesh gets: listeners, routes and certificates of its gateways."""
