"""The running service: checks, plans, audits, and the daemon with its schedule, webhooks, health and metrics."""
