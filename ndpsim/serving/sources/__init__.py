"""Where requests come from: files that users have already, and generators."""
