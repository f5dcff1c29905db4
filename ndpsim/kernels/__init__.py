"""Kernels are compiled once: their cache, its digests, notices while they compile; arguments by address."""
