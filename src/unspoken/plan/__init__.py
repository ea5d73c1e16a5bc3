"""`unspoken plan`: everything a recipe decides, before anything is loaded."""

from unspoken.plan.build import Plan, plan
from unspoken.plan.text import render

__all__ = ["Plan", "plan", "render"]
