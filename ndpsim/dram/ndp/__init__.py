"""NDP streams of a rank: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies them.

`engine` runs an instruction on all ranks of a DIMM: `queue` deals its trains out, and `rank_loop` takes those of one
rank in order. It asks `row_commands` (with `command_bus`) for precharges and activates, unless `hidden` says why
they need not be placed, and `mac_array` for when the array takes its bursts. `gaps` and `timing` look the standard up.
"""
