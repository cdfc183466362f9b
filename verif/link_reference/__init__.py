"""A second endpoint of the link, in Python, written from `docs/link.md` alone.

It shares no line, table or layout with `hdl.link`: where both agree, the page says enough. It is built for checking and
not for speed; one cycle of four lanes takes some ten microseconds.
"""

from verif.link_reference.cable import Cable
from verif.link_reference.endpoint import Endpoint, State
from verif.link_reference.format import Cause
from verif.link_reference.geometry import Geometry

__all__ = ["Cable", "Cause", "Endpoint", "Geometry", "State"]
