"""The API over HTTPS: the server and the client."""
