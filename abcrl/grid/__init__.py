"""Runs callables that it is given, each in a process of its own; knows no stage."""

from .capacity import default_jobs
from .executor import run_tasks
from .tasks import GridProgress, Task, TaskResult

__all__ = ["GridProgress", "Task", "TaskResult", "default_jobs", "run_tasks"]
