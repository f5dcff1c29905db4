"""Requests that arrive over time: what they are; sources, scheduler, KV blocks and engine move in here."""
