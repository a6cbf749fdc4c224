"""Local stand-ins of platforms and CRMs over real HTTP, with faults on demand. They share no code with the adapters."""
