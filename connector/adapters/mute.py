"""What a CRM answers to those methods of the seam that are a platform's: it sends nothing to any network."""

from datetime import datetime

from connector.adapters.base import Probe, Write
from connector.errors import Rejected
from connector.model import Receipt


class Mute:
    system: str

    def send(self, write: Write, token: str) -> Receipt:
        raise self._refusal("send")

    def probe(self, write: Write, token: str, since: datetime) -> Receipt | Probe:
        raise self._refusal("probe")

    def _refusal(self, method: str) -> Rejected:
        return Rejected(self.system, method, "a CRM cannot send to a network.", "Send through the platform.")
