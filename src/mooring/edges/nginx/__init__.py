"""NGINX beside us: its files, its process, and the socket into its Lua."""
