"""The process and the machine: settings, interrupts, environment, console, doctor."""
