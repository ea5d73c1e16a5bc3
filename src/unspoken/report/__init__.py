"""`unspoken report`: what runs showed, on one page."""

from unspoken.report.report import write_report

__all__ = ["write_report"]
