"""Runtimes: what drives the pure devices. The engine does it live, with sockets and timers; the virtual runtime
with a clock that jumps and a link in memory. The conductor plays a scenario on one of them."""
