"""Who may do what? RBAC and the node authorizer, over the roles and bindings in the state."""
