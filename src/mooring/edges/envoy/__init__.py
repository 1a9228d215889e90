"""How is Envoy programmed? Delta ADS over a Unix socket (ads), one client's conversation (stream), and ports.proxy (proxy)."""
