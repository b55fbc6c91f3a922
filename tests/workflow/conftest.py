"""A small project, run once for all tests that ask what an edit makes stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_project import Project, copy_project


@pytest.fixture(scope="session")
def finished(made_once: Callable[..., Any]) -> Project:
    """A project whose whole workflow has run."""

    def make(folder: Path) -> Project:
        project = copy_project(folder / "project")
        said = project.call(HIMAP_WARM="")  # with a server of its own, as a user's run
        assert said.returncode == 0, said.stdout[-5000:]
        return project

    return made_once("finished", make)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, its times kept, for one test to edit."""
    return finished.copied_to(tmp_path / "project")
