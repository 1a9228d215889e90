"""Settings, composition, roles and lifecycle: the only place that knows every class."""
