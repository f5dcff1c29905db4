"""DRAM: standards as tables, requests, three engines, their command logs, the checker of these, and energy.

`address_map` says where an address lies. The engines are in folders of their own: `host` serves memory requests, `ndp`
streams rows to the units of a rank, `banks` streams to the units at all banks.
"""
