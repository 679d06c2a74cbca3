"""Subnets for the world outside: files that are run and compared with the subnet when written."""

from supernet.exporting.checking import Check
from supernet.exporting.formats import FORMATS, Format, check_packages
from supernet.exporting.hub import hub_config
from supernet.exporting.writing import export_subnet

__all__ = ["FORMATS", "Check", "Format", "check_packages", "export_subnet", "hub_config"]
