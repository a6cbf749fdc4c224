"""Two-way sync between a social media management platform and a CRM."""

__version__ = "0.4.0"
