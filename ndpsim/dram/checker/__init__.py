"""The checker of command logs, with rules and bank states of its own; it shares standards with the engines, no more."""
