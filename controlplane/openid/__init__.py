"""OpenID Connect Discovery: the keys of issuers of whom the configuration knows the name only."""
