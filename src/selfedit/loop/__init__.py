"""The loop: tasks → propose → adapt → score → guard → keep → learn; and what is compared and tried with the same parts."""

from selfedit.loop.loop import Loop

__all__ = ["Loop"]
