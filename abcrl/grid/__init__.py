"""Runs callables that it is given, each in a process of its own; knows no stage."""

from .capacity import default_jobs
from .cluster import Needs, connected
from .executor import run_tasks
from .ray_engine import run_tasks_on_ray
from .tasks import Files, GridProgress, Task, TaskResult

__all__ = [
    "Files",
    "GridProgress",
    "Needs",
    "Task",
    "TaskResult",
    "connected",
    "default_jobs",
    "run_tasks",
    "run_tasks_on_ray",
]
