"""Pure computation: nothing in this folder awaits, reads a clock, logs, or touches a disk or a socket. Read its five
files first."""
