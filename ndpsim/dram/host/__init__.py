"""The host controller: queues, FR-FCFS, write drain, open pages, refresh; HOST_CONTROLLER.md specifies it."""
