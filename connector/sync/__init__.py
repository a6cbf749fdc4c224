"""The heart: deciding (pure) and doing (engine, outbox)."""
