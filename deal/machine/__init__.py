"""The machine: cores, processor, driver, threads, clocks."""
